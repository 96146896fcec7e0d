"""When cookies are marked Secure. Pure."""

from enum import StrEnum


class SecureCookies(StrEnum):
    """When cookies are marked Secure."""

    AUTO = "auto"  # where the request came by https, as the proxy in front tells
    ALWAYS = "always"
    NEVER = "never"
