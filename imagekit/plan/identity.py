"""Hold what a package says of itself against what the model takes it for: the builder and the device ask alike."""

from __future__ import annotations

from imagekit.assertions import GLOBAL_UPLOAD, Model
from imagekit.errors import PlanError, TrustError
from imagekit.packages.snapyaml import SnapInfo
from imagekit.plan.resolve import ResolvedPackage


def check_identity(package: ResolvedPackage, info: SnapInfo, model: Model) -> None:
    """Raises: PlanError: name, type or architecture are not the model's."""
    for what, found, wanted in (("name", info.name, package.name),
                                ("type", info.model_type, package.snap.type.value)):
        if found != wanted:
            raise PlanError(f"cannot use {package.file.path}: its snap.yaml says {what} {found!r}, the model says"
                            f" {wanted!r}")
    signed = package.revision.provenance if package.revision is not None else info.provenance or GLOBAL_UPLOAD
    if (info.provenance or GLOBAL_UPLOAD) != signed:
        raise TrustError(f"cannot use {package.file.path}: its snap.yaml says provenance"
                         f" {info.provenance or GLOBAL_UPLOAD!r}, it is signed under {signed!r}",
                         hint="whoever signed it may not sign packages of that provenance")
    if not {"all", model.architecture} & set(info.architectures):
        raise PlanError(f"cannot use {package.file.path}: it is for {', '.join(info.architectures)}, model"
                        f" {model.model!r} is for {model.architecture}",
                        hint="all packages of a model are for its architecture: pack it anew, or name another one")
