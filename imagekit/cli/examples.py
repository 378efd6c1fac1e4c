"""Examples at the end of each command's help. A test parses every one of them with the command's own parser."""

from __future__ import annotations

from collections.abc import Sequence

Example = tuple[str, str]  # the command line, and what it does

EXAMPLES: dict[str, tuple[Example, ...]] = {
    "key": (
        ("imagekit key create acme", "a new key for the brand acme"),
        ("imagekit key create acme-2027 --by acme --until 2028-01-01T00:00:00Z", "a second key, under the first"),
        ("imagekit key list", "the keys you have"),
    ),
    "key create": (
        ("imagekit key create acme", "a new key for the brand acme, its own root of trust"),
        ("imagekit key create acme-2027 --by acme --until 2028-01-01T00:00:00Z", "a key under the root acme"),
        ("imagekit key create line-1 --no-account", "a key that only signs a station's log"),
    ),
    "key add": (
        ("imagekit key add hsm --signer 'sign-with-pkcs11.py acme' --public acme.pem", "a key that a program has"),
        ("imagekit key check hsm", "try it"),
    ),
    "key check": (
        ("imagekit key check hsm", "does its program sign"),
        ("imagekit key check acme --passphrase-file safe/passphrase", "is this its passphrase"),
    ),
    "key import": (
        ("imagekit key import acme.pem --name acme", "from PEM"),
        ("gpg --homedir ~/.snap/gnupg --export-secret-keys acme | imagekit key import - --name acme",
         "what `snap create-key acme` made, through no file"),
    ),
    "key list": (
        ("imagekit key list", "the keys you have, and whose they are"),
        ("imagekit key list --json", "the same for programs"),
    ),
    "key show": (
        ("imagekit key show acme", "its key id, whose it is, and until when"),
        ("imagekit key show acme --json", "the same for programs"),
    ),
    "key vouch": (
        ("imagekit key vouch hsm --brand acme", "an own root of trust for the brand acme"),
        ("imagekit key vouch hsm --by acme", "a further key of the root acme's brand"),
    ),
    "key renew": (
        ("imagekit key renew acme-2027 --until 2029-01-01T00:00:00Z", "another year"),
        ("imagekit key renew acme-2027 --forever", "no end"),
    ),
    "key expire": (
        ("imagekit key expire acme-2026", "nothing that it has signed is believed any more"),
        ("imagekit key expire acme-2026 -o acme-2026.account-key", "and a file for others who verify"),
    ),
    "key export": (
        ("imagekit key export acme -o acme.account-key", "for others who shall trust it"),
        ("imagekit key export acme --private -o acme.pem", "a copy for the safe"),
    ),
    "sign": (
        ("imagekit sign models/pc-demo.yaml -k acme -o pc-demo.model", "a model"),
        ("imagekit sign packages-out/debian-13_1.snap -k acme", "a package: writes debian-13_1.assert beside it"),
    ),
    "verify": (
        ("imagekit verify pc-demo.model", "against your own roots of trust"),
        ("imagekit verify pc-demo.model --trust roots --json", "against the roots in another folder too"),
        ("imagekit verify packages-out/debian-13_1.snap", "a package, by the .assert beside it"),
    ),
    "trust": (
        ("imagekit trust add canonical", "believe what Canonical's root key vouches for"),
        ("imagekit trust add acme-root.account-key", "a brand's own root, from a file"),
        ("imagekit trust list", "whom you trust"),
        ("imagekit trust remove canonical", "and no longer"),
    ),
    "trust list": (
        ("imagekit trust list", "whom you trust, and until when"),
        ("imagekit trust list --json", "the same for programs"),
    ),
    "trust remove": (
        ("imagekit trust remove acme", "an account and all its keys"),
        ("imagekit trust remove XhDWdsp_", "one key, by the first 8 characters of its id"),
    ),
    "trust add": (
        ("imagekit trust add canonical", "believe what Canonical's root key vouches for"),
        ("imagekit trust add acme.account acme.account-key --yes", "a brand under a root of yours, from its files"),
    ),
    "lock": (
        ("imagekit lock", "compare the lock with what the mirrors offer"),
        ("imagekit lock --update", "write the newest versions into the lock"),
    ),
    "pack": (
        ("imagekit pack packages/pc-kernel.yaml -o packages-out", "one package"),
        ("imagekit pack packages/debian-13.yaml -o packages-out --locked --offline", "nothing but what the lock says"),
    ),
    "snap": (
        ("imagekit snap check meta/snap.yaml", "everything that is wrong with it, each with its line"),
        ("imagekit snap check hello_3.snap pi-kernel_9.snap --json", "packages, for programs"),
    ),
    "snap check": (
        ("imagekit snap check prime", "a folder with meta/snap.yaml, and meta/kernel.yaml if there is one"),
        ("imagekit snap check hello_3.snap kernel.yaml --strict -o findings.json", "warnings count as errors"),
    ),
    "plan": (
        ("imagekit plan pc-demo.model --packages packages-out", "a table, and a bar of the disk"),
        ("imagekit plan pc-demo.model --packages packages-out --json", "the same for programs"),
    ),
    "build": (
        ("imagekit build pc-demo.model --packages packages-out -o out", "out/pc-demo.img, and what belongs to it"),
        ("imagekit build pc-demo.model --packages packages-out -o out --twice", "proves that the bytes are the same"),
        ("imagekit build trial.model --packages packages-out --snap ./hello_3.snap -o out",
         "with a package that the model, of grade dangerous, does not name"),
    ),
    "gadget": (
        ("imagekit gadget check gadgets/pc", "everything that is wrong with a gadget, and what will hurt"),
        ("imagekit gadget check gadget.yaml --rules uc20 --json", "by the rules of Ubuntu Core 20, for programs"),
        ("imagekit gadget show gadgets/pc", "tables and bars of its disks"),
        ("imagekit gadget diff pc_1.snap pc_2.snap", "may a device be updated in place"),
    ),
    "gadget check": (
        ("imagekit gadget check gadgets/pc", "a folder: its gadget.yaml, and the files of its content"),
        ("imagekit gadget check one.snap two/meta/gadget.yaml --strict", "warnings count as errors"),
    ),
    "gadget show": (
        ("imagekit gadget show gadgets/pc -o pc.svg", "and a picture"),
        ("imagekit gadget show pc_1.snap --sector-size 4096 --json", "on a disk of large sectors, for programs"),
    ),
    "gadget diff": (
        ("imagekit gadget diff pc_1.snap pc_2.snap", "exit 0 if it may, 5 if not, with every reason"),
        ("imagekit gadget diff old.yaml new.yaml --kernel-new pi-kernel_7.snap --json", "with what a kernel brings"),
    ),
    "board": (
        ("imagekit board list", "the boards there are"),
        ("imagekit board show pc", "its disk, how it boots, how to flash it"),
        ("imagekit board new kiosk --like pc", "the data of a new one, to be changed"),
    ),
    "board list": (
        ("imagekit board list", "the boards there are"),
        ("imagekit board list --json", "for programs"),
    ),
    "board show": (
        ("imagekit board show pc -o pc.svg", "and a picture of its disk"),
        ("imagekit board show ./gadgets/pc --json", "a folder, for programs"),
    ),
    "board new": (
        ("imagekit board new kiosk --like pc", "gadgets/kiosk, models/kiosk.yaml, qemu/kiosk.yaml"),
        ("imagekit board new kiosk --like pc -o mine", "the same below another folder"),
    ),
    "board console": (
        ("imagekit board console --serial /dev/ttyUSB0", "a terminal"),
        ("imagekit board console --serial /dev/ttyUSB0 --board pi --run 'mmc info' --run version",
         "answers of its U-Boot, and no terminal"),
    ),
    "board load": (
        ("imagekit board load hello.bin --board pi --serial /dev/ttyUSB0", "into memory that is free"),
        ("imagekit board load hello.bin --board pi --serial rfc2217://lab.example.com:4000 --address 0x80000 --json",
         "through a terminal server, to a place of your own"),
    ),
    "board flash": (
        ("imagekit board flash out/pi.img --board pi --serial /dev/ttyUSB0 --dry-run", "what differs, and how long"),
        ("imagekit board flash out/pi.img --board pi --serial /dev/ttyUSB0", "you are asked before anything is sent"),
        ("imagekit board flash out/pi.img --board pi --serial /dev/ttyUSB0 --tftp 192.168.1.10",
         "the board has a cable, and this machine is 192.168.1.10 to it"),
        ("imagekit board flash out/pi.img --board pi --fastboot tcp:192.168.1.20 --dry-run",
         "what its fastboot takes, and whether it reads back"),
        ("imagekit board flash out/pi.img --partition mmc0 --fastboot tcp:192.168.1.20 --reboot",
         "a boot loader that is no U-Boot, and whose whole disk is called mmc0"),
        ("imagekit board flash out/pi.img --ums usb:1-1.4", "a board that shows itself as a USB disk at this port"),
    ),
    "board recover": (
        ("imagekit board recover --board pi --dry-run", "is a Pi there in its boot ROM, and what would be run"),
        ("imagekit board recover out/pi.img --board pi", "by rpiboot, then its disk: you see the plan, and are asked"),
        ("imagekit board recover out/h3.img --board orangepi-pc --loader u-boot-sunxi-with-spl.bin --port 1-1.4",
         "the board at this port, by fastboot afterwards, without a question"),
    ),
    "inspect": (
        ("imagekit inspect out/pc-demo.img", "everything about an image, before it is flashed"),
        ("imagekit inspect out/pc-demo.img --quick --json", "without reading all of it, for programs"),
        ("imagekit inspect packages-out/debian-13_1.snap", "what it says of itself, its digest, who signed it"),
        ("imagekit inspect packages-out/*.snap -o report.json", "and a file for programs"),
    ),
    "flash": (
        ("imagekit flash list", "the media of this machine, and why some are refused"),
        ("imagekit flash write out/pc-demo.img /dev/sdb", "a card: you see what is erased, and are asked"),
        ("imagekit flash write out/pc-demo.img /dev/sdb /dev/sdc /dev/sdd", "three at once"),
        ("imagekit flash verify out/pc-demo.img /dev/sdb", "is it still what was written"),
    ),
    "flash list": (
        ("imagekit flash list", "what there is"),
        ("imagekit flash list --json", "for programs, partitions too"),
    ),
    "flash plan": (
        ("imagekit flash plan out/pc-demo.img /dev/sdb", "what would be done, and what is refused"),
        ("imagekit flash plan out/pc-demo.img --port 1-1.4 --json", "for programs"),
    ),
    "flash write": (
        ("imagekit flash write out/pc-demo.img /dev/sdb", "you are asked before anything is erased"),
        ("imagekit flash write out/pc-demo.img.zst --port 1-1.3 --port 1-1.4 --json", "a station: no question"),
        ("imagekit flash write out/pc-demo.img /dev/sdb --update", "only what differs"),
        ("imagekit flash write out/pc-demo.img card.img", "a file, without root"),
    ),
    "flash verify": (
        ("imagekit flash verify out/pc-demo.img /dev/sdb", "exit 0: the same; exit 7: the first byte that differs"),
        ("imagekit flash verify out/pc-demo.img card.img --json", "a file, for programs"),
    ),
    "flash compress": (
        ("imagekit flash compress out/pc-demo.img", "out/pc-demo.img.zst"),
        ("imagekit flash compress out/pc-demo.img -o pc.img.zst --level 19", "smaller, and slower to make"),
    ),
    "flash os-list": (
        ("imagekit flash os-list out/pc-demo.img.zst --url https://images.example.com/pc", "os_list.json"),
        ("imagekit flash os-list out/pi.img.xz --url https://example.com -o pi.json", "under another name"),
    ),
    "factory": (
        ("imagekit factory plan line-1.yaml", "the image, the ports, what is in them"),
        ("imagekit factory run line-1.yaml", "until Ctrl-C: put media in, take units out"),
        ("imagekit factory check factory.log", "every signature and every link of the log"),
    ),
    "factory plan": (
        ("imagekit factory plan line-1.yaml", "and what would be refused"),
        ("imagekit factory plan line-1.yaml --json", "for programs"),
    ),
    "factory run": (
        ("imagekit factory run line-1.yaml", "until Ctrl-C"),
        ("imagekit factory run line-1.yaml --units 200 --json", "a batch, every event as a line of JSON"),
        ("imagekit factory run line-1.yaml --once --no-page", "what is in the ports now, and no more"),
    ),
    "factory label": (
        ("imagekit factory label line-1.yaml A0007", "the label of one unit, once more"),
        ("imagekit factory label line-1.yaml --record 12 --record 13", "of units without a serial number"),
    ),
    "factory check": (
        ("imagekit factory check factory.log", "signed by a key of your keyring"),
        ("imagekit factory check factory.log --key line-1.pub --json", "by the key in a file, for programs"),
    ),
    "factory report": (
        ("imagekit factory report factory.log", "factory.html"),
        ("imagekit factory report factory.log --key line-1.pub -o batch-17.html", "of another machine's log"),
    ),
    "factory serve": (
        ("imagekit factory serve acme/pc-demo --first A0001 --count 200 -k acme --token line-1.token",
         "for a station on this machine"),
        ("imagekit factory serve acme/pc-demo --first A0001 --count 200 -k acme --token line-1.token --host 192.0.2.7"
         " --tls cert.pem cert.key", "for those on other machines"),
    ),
    "factory prepare": (
        ("imagekit factory prepare acme/pc-demo --first A0001 --count 200 -k acme -o units",
         "on the brand's machine; the folder units goes to the station"),
        ("imagekit factory prepare acme/pc-demo --first 26-00001 --count 5 -k acme-serials -o units",
         "with a key that the model lets sign serials"),
    ),
    "boot": (
        ("imagekit boot out/pc-demo.img", "exit 0 only if the guest itself says that it is healthy"),
        ("imagekit boot out/pc-demo.img --console", "and watch its console"),
    ),
    "powercut": (
        ("imagekit powercut out/pc-demo.img --update stick", "record the update of a folder, judge every state"),
        ("imagekit powercut out/pc-demo.img --update stick -o recording --boot 5 --random 30",
         "boot some of the states for real; a second run takes the recording that is there"),
        ("imagekit powercut out/pc-demo.img --during first-boot --again 3",
         "while the data partition grows, and in the boot that recovers from a cut there"),
    ),
    "store": (
        ("imagekit store init store --name acme", "a store in the folder store, and its keys"),
        ("imagekit store publish packages-out/pc-kernel_2.snap --channel edge", "a package, for those who dare"),
        ("imagekit store status", "what devices get, who signs it, and until when it holds"),
    ),
    "store key": (
        ("imagekit store key create acme-root-a", "a key, for root for instance"),
        ("imagekit store key add acme-root-a --role root", "let it sign for a role"),
    ),
    "store key create": (
        ("imagekit store key create online-2027", "of kind Ed25519"),
        ("imagekit store key create acme-root-a --passphrase-file safe/passphrase", "with a passphrase"),
    ),
    "store key export": (
        ("imagekit store key export acme-root-a > acme-root-a.json", "for the machine with the store"),
        ("imagekit store key export acme-root-a -o stick/acme-root-a.json", "to a stick"),
    ),
    "store key import": (
        ("imagekit store key import stick/acme-root-a.json", "the public part of a key that is elsewhere"),
        ("imagekit store key import online.pem --name acme-online", "a private key, under another name"),
    ),
    "store key list": (
        ("imagekit store key list", "the store keys you have"),
        ("imagekit store key list --json", "the same for programs"),
    ),
    "store key remove": (
        ("imagekit store key remove online-2026 --role snapshot --role timestamp", "it signs nothing online any more"),
        ("imagekit store key remove carol --role root --threshold 1", "and one root key is enough again"),
    ),
    "store publisher": (
        ("imagekit store publisher add acme --package 'acme-*' --key acme-publisher", "who may publish what"),
        ("imagekit store publisher remove globex", "and who may no longer"),
    ),
    "store publisher remove": (
        ("imagekit store publisher remove globex", "nothing of globex is believed any more"),
        ("imagekit store publisher remove globex --store fleet", "in another store"),
    ),
    "store init": (
        ("imagekit store init store --name acme", "with new keys, two for root"),
        ("imagekit store init store --root 2/2 --root-key alice --root-key bob", "with root keys that are there"),
    ),
    "store publish": (
        ("imagekit store publish packages-out/*.snap --channel edge", "all of them become visible at once"),
        ("imagekit store publish debian-13_5.snap --channel stable --percent 5 --class security"
         " --advisory-file advisory.txt", "a security fix, for one in twenty at first"),
        ("imagekit store publish tested.validation-set", "which revisions were tested together"),
        ("imagekit store publish pc-demo.model", "a newer model, for devices that have an older one"),
    ),
    "store describe": (
        ("imagekit store describe https://updates.example.com", "a draft, for the brand to sign"),
        ("imagekit store describe http://10.0.2.2:8000/ -s demo/store -o demo.yaml", "of another folder, to a file"),
    ),
    "store promote": (
        ("imagekit store promote pc-kernel --from edge --to stable --percent 10", "the same bytes, one in ten"),
        ("imagekit store promote pc-kernel --revision 7 --to 2.0/candidate", "this revision, wherever it is"),
    ),
    "store release": (
        ("imagekit store release pc-kernel 7 --channel stable --percent 50", "half of the devices now"),
        ("imagekit store release pc-kernel 7 --channel stable --hold", "nobody new for now"),
    ),
    "store revoke": (
        ("imagekit store revoke pc-kernel 7 --reason 'no network'", "nobody takes it, and who has it leaves it"),
        ("imagekit store revoke debian-13 --below 5", "never anything older than 5 again"),
    ),
    "store publisher add": (
        ("imagekit store publisher add acme --package pc-kernel --package 'acme-*' --key acme-publisher",
         "the names that the account acme may publish"),
        ("imagekit store publisher add acme", "only bring its renewed keys to devices"),
    ),
    "store key add": (
        ("imagekit store key add carol --role root --threshold 2", "a further root key, and two have to sign"),
        ("imagekit store key add online-2027 --role snapshot --role timestamp",
         "the next online key, beside the old one or in its place"),
    ),
    "store delta": (
        ("imagekit store delta debian-13", "to the newest revision, from those that devices run"),
        ("imagekit store delta debian-13 5 --from 2 --from 3", "from these"),
    ),
    "store sync": (
        ("imagekit store sync s3://updates/fleet --dry-run", "what would go up, in its order"),
        ("imagekit store sync /srv/store --delete", "to a folder, and take away what was pruned"),
    ),
    "store serve": (
        ("imagekit store serve", "at port 8099 of this machine, until Ctrl-C"),
        ("imagekit store serve --port 0", "at a free port, which is told"),
    ),
    "store status": (
        ("imagekit store status", "what devices get, who signs it, and until when it holds"),
        ("imagekit store status --store fleet --json", "of another store, for programs"),
    ),
    "store close": (
        ("imagekit store close pc-kernel latest/beta", "beta's devices follow candidate"),
        ("imagekit store close pc-kernel 1.0/stable", "an old track ends"),
    ),
    "store renew": (
        ("imagekit store renew", "every day, where the online key is"),
        ("imagekit store renew --all --offline", "root and targets too: they wait for their signatures"),
        ("imagekit store renew --all --clock-is-right", "after a clock that ran ahead has signed"),
    ),
    "store prune": (
        ("imagekit store prune --dry-run", "what would go"),
        ("imagekit store prune --keep 5", "and keep five revisions to go back to"),
    ),
    "store sign": (
        ("imagekit store sign root.json -k acme-root-a", "what it says is told first"),
        ("imagekit store sign root.json -k acme-root-a -o signed.json", "and root.json stays as it is"),
    ),
    "store apply": (
        ("imagekit store apply root.json", "signatures that came back; with the last one the change is published"),
        ("imagekit store apply --discard", "give the change up"),
    ),
    "store check": (
        ("imagekit store check", "all digests, signatures and dates, then all of it as a device"),
        ("imagekit store check --url https://updates.example.com", "the device reads from there"),
    ),
    "doctor": (
        ("imagekit doctor", "what is there, what is missing, and the one line that installs it"),
        ("imagekit doctor --json", "the same for programs"),
        ("imagekit doctor --udev-rules | sudo tee /etc/udev/rules.d/70-imagekit.rules", "boards over USB without root"),
    ),
    "completion": (
        ("imagekit completion bash > ~/.local/share/bash-completion/completions/imagekit", "for bash"),
        ("imagekit completion fish > ~/.config/fish/completions/imagekit.fish", "for fish"),
    ),
}


def epilog(examples: Sequence[Example]) -> str:
    """The examples as click wants them: one paragraph that is not wrapped again."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}\n      {what}" for line, what in examples)
