"""Lists of models, as tests give them to projects and keys."""

from collections.abc import Iterable

from ledger.permissions import ModelPermissions, PermissionMode


def allow_models(patterns: Iterable[str]) -> ModelPermissions:
    """These models and no others. Raises Refused."""
    return ModelPermissions(PermissionMode.ALLOW_LIST, tuple(patterns))


def deny_models(patterns: Iterable[str]) -> ModelPermissions:
    """All models but these. Raises Refused."""
    return ModelPermissions(PermissionMode.DENY_LIST, tuple(patterns))
