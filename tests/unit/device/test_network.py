"""When the network is there, which boots need it, and what becomes of those that have none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imagekit.assertions import Header
from imagekit.boot.health import Check
from imagekit.boot.slotstate import FACTORY, Slot, begin_boot, begin_trial
from imagekit.device.health import judge
from imagekit.device.network import check_network
from imagekit.device.report import load_report
from tests.unit.device.conftest import ROUTES, Device

DEMANDED: dict[str, Header] = {"x-imagekit": {"health": {"network": "required"}}}
REBOOT = ("systemctl", "--no-block", "reboot")
HEAD = ROUTES.splitlines(keepends=True)[0]
BY_MODEM = HEAD + "wwan0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n"
ROUTER = bytes.fromhex("fe800000000000000000000000000001")
BY_IPV6 = (f"{'0' * 32} 00 {'0' * 32} 00 {ROUTER.hex()} 00000400 00000001 00000000 00000003     eth0\n"
           f"{'0' * 32} 00 {'0' * 32} 00 {'0' * 32} ffffffff 00000001 00000000 00200200       lo\n")


@pytest.fixture
def trial(device: Device) -> Device:
    """Slot b is on trial, and the model demands a network, which is there."""
    device.on_trial()
    device.seed(**DEMANDED)
    device.network()
    return device


def look(device: Device, *, wait_s: float = 0) -> Check:
    found = check_network(device.machine, load_report(device.folder / "run"), wait_s=wait_s)
    assert found.name == "network"
    return found


def test_trial_with_the_network_that_its_model_demands_is_kept(trial: Device) -> None:
    verdict = judge(trial.machine, lambda line: None, wait_s=1)
    assert verdict.confirmed
    assert Check(name="network", ok=True, detail="eth0, gateway 192.0.2.1") in verdict.checks


@pytest.mark.parametrize(("routes", "carrier", "answers", "missing"), [
    (HEAD, "1\n", True, "no default route"),
    (ROUTES.replace("\t0003\t", "\t0203\t"), "1\n", True, "no default route"),
    (ROUTES.replace("\t0003\t", "\t0002\t"), "1\n", True, "no default route"),
    (ROUTES.replace("eth0", "lo"), "1\n", True, "no default route"),
    (ROUTES, "0\n", True, "eth0, gateway 192.0.2.1 has no carrier"),
    (ROUTES, None, True, "eth0, gateway 192.0.2.1 has no carrier"),
    (ROUTES, "1\n", False, "eth0, gateway 192.0.2.1 does not answer")],
    ids=["none", "rejects", "down", "loopback", "cable", "interface", "gateway"])
def test_each_thing_that_a_network_lacks_fails_a_trial_that_needs_it(
    trial: Device, routes: str, carrier: str | None, answers: bool, missing: str
) -> None:
    trial.neighbours.clear()
    trial.network(carrier=carrier or "", answers=answers)
    (trial.folder / "proc/net/route").write_text(routes)
    if carrier is None:
        (trial.folder / "sys/class/net/eth0/carrier").unlink()
    found = look(trial)
    assert (found.ok, found.detail) == (False, f"not there for 0 s: {missing}")


def test_network_without_a_gateway_needs_the_carrier_only(trial: Device) -> None:
    (trial.folder / "sys/class/net/eth0").rename(trial.folder / "sys/class/net/wwan0")
    (trial.folder / "proc/net/route").write_text(BY_MODEM)
    trial.neighbours.clear()
    assert look(trial) == Check(name="network", ok=True, detail="wwan0")


def test_network_of_ipv6_alone_is_one(trial: Device) -> None:
    (trial.folder / "proc/net/route").unlink()
    (trial.folder / "proc/net/ipv6_route").write_text(BY_IPV6)
    assert look(trial).detail == "not there for 0 s: eth0, gateway fe80::1 does not answer"
    trial.neighbours.add(ROUTER)
    assert look(trial) == Check(name="network", ok=True, detail="eth0, gateway fe80::1")


def test_one_gateway_of_two_is_enough(trial: Device) -> None:
    (trial.folder / "proc/net/ipv6_route").write_text(BY_IPV6)
    trial.neighbours = {ROUTER}
    assert look(trial) == Check(name="network", ok=True, detail="eth0, gateway fe80::1")


def test_network_that_comes_late_is_waited_for(trial: Device) -> None:
    asked: list[bytes] = []

    def answers(interface: str, gateway: bytes) -> bool:
        asked.append(gateway)
        if len(asked) == 1:
            raise OSError("Network is down")
        return True

    machine = replace(trial.machine, answers=answers)
    assert check_network(machine, load_report(trial.folder / "run"), wait_s=60).ok
    assert len(asked) == 2


@pytest.mark.parametrize("why", ["confirmed", "no way back", "another slot", "not demanded"])
def test_boot_that_needs_no_network_is_told_what_there_is_and_asks_nobody(trial: Device, why: str) -> None:
    """A confirmed slot would change places with the other one for ever, as long as a site's switch is off."""
    if why == "confirmed":
        trial.record(begin_boot(replace(FACTORY, slot=Slot.B, other_good=True), Slot.B).record)
    elif why == "no way back":
        trial.record(replace(begin_boot(begin_trial(FACTORY), Slot.B).record, other_good=False))
    elif why == "another slot":
        trial.record(replace(begin_trial(FACTORY), slot=Slot.A))
    else:
        trial.seed()
    machine = replace(trial.machine, answers=lambda interface, gateway: pytest.fail("asked"))
    report = load_report(trial.folder / "run")
    found = check_network(machine, report)
    assert (found.ok, found.detail) == (True, "not demanded of this boot: eth0, gateway 192.0.2.1")
    (trial.folder / "proc/net/route").unlink()
    found = check_network(machine, report)
    assert (found.ok, found.detail) == (True, "not demanded of this boot: no default route with carrier")


def test_trial_that_cannot_read_the_model_is_taken_back(trial: Device) -> None:
    """No update could come after it: that is no base to keep, whatever its model demands."""
    (trial.folder / "dev/seed").write_bytes(b"")
    verdict = judge(trial.machine, lambda line: None, wait_s=1)
    assert not verdict.healthy
    assert [reason.partition(": cannot tell whether")[0] for reason in verdict.reasons] == ["network"]
    assert REBOOT in trial.programs.ran


def test_confirmed_boot_does_without_a_model_that_can_be_read(device: Device) -> None:
    """The other slot reads the same seed: there is nothing to be won by going there."""
    assert judge(device.machine, lambda line: None, wait_s=1).confirmed


def test_demand_that_somebody_cut_out_of_the_model_is_not_away(trial: Device) -> None:
    """Who writes to the seed writes no model: without the brand's signature nothing tells what is demanded."""
    raw = (seed := trial.folder / "dev/seed").read_bytes()
    assert raw.count(b"x-imagekit:") == 1
    seed.write_bytes(raw.replace(b"x-imagekit:", b"y-imagekit:"))
    found = look(trial)
    assert not found.ok
    assert found.detail.startswith("cannot tell whether the model demands it: ")


def test_model_word_tells_the_demand(trial: Device, capsys: pytest.CaptureFixture[str]) -> None:
    from imagekit.device.cli import main

    assert main(["model"], machine=trial.machine) == 0
    assert "  health: an update is kept only with a network\n" in capsys.readouterr().out
    trial.seed()
    assert main(["model"], machine=trial.machine) == 0
    assert "health:" not in capsys.readouterr().out
