"""The portal's tokens: those it has from the start, and those it gives to an OAuth app."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from airflow_provider_hubprefs.simulator.answers import expired_token, no_credentials
from airflow_provider_hubprefs.simulator.portal.clock import SimulatedClock, iso
from airflow_provider_hubprefs.simulator.portal.definitions import ALL_SCOPES, BATCH_SCOPES, READ
from airflow_provider_hubprefs.simulator.portal.settings import PortalSettings, TokenSettings

_DEFAULTS = {
    "all": TokenSettings(),
    # Below Marketing Hub Enterprise, batch scopes cannot be granted.
    "starter": TokenSettings(scopes=tuple(scope for scope in ALL_SCOPES if scope not in BATCH_SCOPES)),
    "read_only": TokenSettings(scopes=(READ,)),
    "expired": TokenSettings(kind="oauth", expires_in=-3600),
}


@dataclass(slots=True)
class AccessToken:
    """What one bearer token permits.

    :param app: whose burst limit it draws on; the access tokens of one OAuth installation share theirs.
    :param daily: the account's daily limit in this token's headers; ``None``: no daily limit or header.
    :param expires_ms: when it ends, in milliseconds since 1970; ``None``: never.
    """

    name: str
    value: str
    kind: str
    scopes: frozenset[str]
    app: str
    burst: int
    daily: int | None
    expires_ms: int | None = None

    def may(self, alternatives: tuple[frozenset[str], ...]) -> bool:
        """Return whether the scopes suffice: all of any one alternative."""
        return any(wanted <= self.scopes for wanted in alternatives)


class PortalTokens:
    """All tokens of a portal: ``all``, ``starter``, ``read_only``, ``expired``, and those of its settings.

    :ivar by_name: the tokens by name.
    :ivar minted: how many access tokens the OAuth app got.
    """

    def __init__(self, clock: SimulatedClock, seed: int, settings: PortalSettings) -> None:
        self._clock = clock
        self._seed = seed
        self._limits = settings.limits
        self._oauth = settings.oauth
        self._by_value: dict[str, AccessToken] = {}
        self.by_name: dict[str, AccessToken] = {}
        self.refresh_tokens = {settings.oauth.refresh_token}
        self.minted = 0
        for name, wanted in {**_DEFAULTS, **settings.tokens}.items():
            self._add(name, wanted)

    def find(self, value: str) -> AccessToken | None:
        """Return the token with this value."""
        return self._by_value.get(value)

    def authenticate(self, token: AccessToken | None) -> AccessToken:
        """Return a token that is valid now.

        :raises ApiError: 401, for a missing, unknown or expired one.
        """
        if token is None:
            raise no_credentials()
        now = self._clock.now_ms()
        if token.expires_ms is not None and token.expires_ms <= now:
            raise expired_token((now - token.expires_ms) // 1000, iso(token.expires_ms))
        return token

    def mint(self) -> AccessToken:
        """Make an OAuth access token, which expires."""
        self.minted += 1
        wanted = TokenSettings(kind="oauth", expires_in=self._oauth.expires_in, scopes=self._oauth.scopes)
        return self._add(f"oauth-{self.minted}", wanted)

    def rotate(self, old: str) -> str:
        """Return the refresh token for the next time: the same, or a new one if the portal rotates them."""
        if not self._oauth.rotate:
            return old
        self.refresh_tokens.discard(old)
        new = f"simulated-refresh-{self._uuid(f'refresh-{self.minted}')}"
        self.refresh_tokens.add(new)
        return new

    def _add(self, name: str, wanted: TokenSettings) -> AccessToken:
        oauth = wanted.kind == "oauth"
        expires_in = wanted.expires_in
        prefix = "simulated-access-" if oauth else "pat-na1-"
        token = AccessToken(
            name=name,
            value=wanted.value or f"{prefix}{self._uuid(name)}",
            kind=wanted.kind,
            scopes=frozenset(wanted.scopes),
            app="oauth" if oauth else name,
            burst=self._limits.burst if wanted.burst is None else wanted.burst,
            daily=None if oauth else self._limits.daily,
            expires_ms=None if expires_in is None else self._clock.now_ms() + int(expires_in * 1000),
        )
        self._by_value[token.value] = self.by_name[name] = token
        return token

    def _uuid(self, name: str) -> uuid.UUID:
        # Version 5, written as the version 4 that HubSpot's tokens look like.
        made = uuid.uuid5(uuid.NAMESPACE_OID, f"{self._seed}:{name}")
        return uuid.UUID(int=made.int, version=4)
