"""Who somebody is: by a token, a reverse proxy, a session, or by being on this machine.

Nothing is believed that the request says of itself: tokens and sessions are looked up by their
hashes, a proxy's header counts only from the proxy's address and with its secret. Each request is
judged by the access file as it is then, so that a change of roles or a revocation holds at once.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime

from litestar.datastructures import Headers
from litestar.types import Scope

from server.access import audit, origin
from server.access.file import AccessFile, Proxy, User
from server.access.passwords import PasswordCheck, same, sha256
from server.access.roles import ANYONE_HERE, ROLES, Identity, Role
from server.access.sessions import ID_CHARS_MAX, Sessions
from server.access.source import AccessSource
from server.access.throttle import Throttle
from server.api.problems import Problem
from store.port import Meta, Unreachable

COOKIE = "snorri_session"
SCHEME = "bearer"

# In the scope when another door of this process has found out who asks; no request can bring it.
STANDING = "snorri.standing"

FAILURES_OF_NAME_MAX = 10
FAILURES_OF_ADDRESS_MAX = 30
FAILURES_WINDOW_S = 300.0
REFUSALS_LOGGED_MAX = 20  # of one address in a window; the rest would only fill the log

# Without a file every process of this machine may do anything.
NOBODY = AccessFile()


class Standing:
    """How somebody stands to this installation at one request; ``identity`` None is nobody.

    ``csrf`` is the token that a session's changes must carry, ``address`` from where the request
    came (behind a trusted proxy: to the proxy).
    """

    def __init__(
        self,
        access: Access,
        scope: Scope,
        identity: Identity | None,
        address: str,
        csrf: str = "",
        session: str = "",
    ) -> None:
        self.identity = identity
        self.address = address
        self.csrf = csrf
        self.session = session
        self._access = access
        self._scope = scope

    async def holds(self) -> bool:
        """Whether the same request would still be from the same identity: for long answers.

        True while the broker can't say, and for whom another door has let in.
        """
        if STANDING in self._scope:
            return True
        try:
            return (await self._access.identify(self._scope)).identity == self.identity
        except Problem:
            return False
        except Unreachable:
            return True


class Access:
    """Finds out who asks. Without a file (``source`` None) it is anyone on this machine."""

    def __init__(
        self,
        source: AccessSource | None = None,
        meta: Meta | None = None,
        *,
        anyone: Identity = ANYONE_HERE,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._anyone = anyone  # who is here without a file
        self._sessions = Sessions(meta) if meta is not None else None
        self._now = now
        self._check = PasswordCheck()
        self._of_names = Throttle(FAILURES_OF_NAME_MAX, FAILURES_WINDOW_S, clock)
        self._of_addresses = Throttle(FAILURES_OF_ADDRESS_MAX, FAILURES_WINDOW_S, clock)
        self._logged = Throttle(REFUSALS_LOGGED_MAX, FAILURES_WINDOW_S, clock)

    @property
    def is_open(self) -> bool:
        """Whether everybody on this machine may do anything, since there is no file."""
        return self._source is None

    @property
    def is_read_only(self) -> bool:
        """Whether nobody may change anything, since all this is a backup."""
        return self._anyone.via == "backup"

    @property
    def file(self) -> AccessFile:
        """The access file as it is now."""
        return self._source.current() if self._source is not None else NOBODY

    # --- who asks

    async def identify(self, scope: Scope) -> Standing:
        """Who sent this request; raises Problem for a credential that is wrong, Unreachable."""
        headers, file = Headers.from_scope(scope), self.file
        peer = (scope.get("client") or (None,))[0]
        address = self._address(peer, headers, file)
        if self.is_open:
            local = origin.is_local(peer)
            return Standing(self, scope, self._anyone if local else None, address)
        if headers.getall("authorization", []):
            return Standing(self, scope, self._by_token(headers, file, address), address)
        if file.proxy is not None and headers.get(file.proxy.identity_header) is not None:
            if self._is_proxy(file.proxy, peer, headers):
                identity = self._by_proxy(file.proxy, headers, address)
                return Standing(self, scope, identity, address)
            self._refused("an identity header was ignored", address, "not from the proxy")
        return await self._by_session(scope, headers, file, address)

    def _address(self, peer: str | None, headers: Headers, file: AccessFile) -> str:
        networks = file.proxy.networks if file.proxy is not None else ()
        if peer and origin.is_trusted(peer, networks):
            return origin.forwarded_for(peer, headers.get("x-forwarded-for", ""), networks)
        return peer or "local"

    def _by_token(self, headers: Headers, file: AccessFile, address: str) -> Identity:
        given = headers.getall("authorization")
        scheme, _, token = given[0].partition(" ")
        if len(given) > 1 or scheme.lower() != SCHEME or not token.strip():
            raise unauthorized("The Authorization header is not: Bearer TOKEN.")
        digest = sha256(token.strip())
        found: Identity | None = None
        for name, one in file.tokens.items():  # all of them, so that time tells nothing
            if same(digest, one.sha256) and not one.expired(self._now()):
                found = Identity(name=name, role=one.role, via="token")
        if found is None:
            self._refused("a token was refused", address, "unknown, expired or revoked")
            raise unauthorized("The token is unknown, has expired or was revoked.")
        return found

    @staticmethod
    def _is_proxy(proxy: Proxy, peer: str | None, headers: Headers) -> bool:
        given = headers.getall(proxy.secret_header, [])
        return (
            origin.is_trusted(peer, proxy.networks)
            and len(given) == 1
            and same(sha256(given[0]), proxy.secret_sha256)
        )

    def _by_proxy(self, proxy: Proxy, headers: Headers, address: str) -> Identity:
        names = headers.getall(proxy.identity_header)
        name = names[0].strip()
        if len(names) > 1 or not name or len(name) > 200 or not name.isprintable():
            raise unauthorized("The proxy names nobody, or more than one.")
        groups = ",".join(headers.getall(proxy.groups_header, [])) if proxy.groups_header else ""
        roles: list[Role] = [
            proxy.roles[group.strip()]
            for group in groups.split(",")
            if group.strip() in proxy.roles
        ]
        role = max(roles, key=ROLES.index) if roles else proxy.default_role
        if role is None:
            self._refused("somebody without a role was refused", address, name)
            raise Problem(
                403,
                "no-role",
                "You have no role here",
                f"The proxy knows you as {name}; none of your groups has a role here.",
                "Ask an admin to give one of your groups a role.",
            )
        return Identity(name=name, role=role, via="proxy")

    async def _by_session(
        self, scope: Scope, headers: Headers, file: AccessFile, address: str
    ) -> Standing:
        id = session_id(headers)
        session = await self._sessions.find(id) if id and self._sessions is not None else None
        user = file.users.get(session.user) if session is not None else None
        if session is None or user is None or not same(sha256(user.password), session.password):
            return Standing(self, scope, None, address)
        identity = Identity(name=session.user, role=user.role, via="session")
        return Standing(self, scope, identity, address, session.csrf, id)

    # --- coming in and going

    async def login(self, name: str, password: str, address: str, old: str) -> str:
        """The id of a new session; ``old``, a session of the same browser, is ended.

        Raises Problem: 401 for a wrong name or password, 429 for too many of them; Unreachable.
        """
        keys = ((self._of_names, sha256(name)), (self._of_addresses, address))
        wait_s = max(throttle.wait_s(key) for throttle, key in keys)
        if wait_s > 0:
            self._refused("a login was put off", address, name)
            raise Problem(
                429,
                "too-many-logins",
                "Too many attempts to log in",
                f"There were too many wrong attempts; the next is possible in {wait_s:.0f} s.",
                "Wait, then try once more; an admin can set a new password.",
                headers={"Retry-After": str(int(wait_s) + 1)},
            )
        for throttle, key in keys:  # before the check, so that many at once count too
            throttle.failed(key)
        user = self.file.users.get(name)
        right = await self._check(password, user.password if user else None)
        if user is None or not right or self._sessions is None:
            self._refused("a login failed", address, name)
            raise unauthorized("The name or the password is wrong.")
        self._of_names.forget(sha256(name))
        self._of_addresses.forgive(address)  # or an account of one's own would allow any number
        return await self._begin(name, user, address, old)

    async def _begin(self, name: str, user: User, address: str, old: str) -> str:
        assert self._sessions is not None
        if old:
            await self._sessions.end(old)
        lifetime_s = int(self.file.lifetime.total_seconds())
        id, _ = await self._sessions.create(name, user, lifetime_s)
        audit.record("logged in", Identity(name=name, role=user.role, via="session"), address)
        return id

    async def logout(self, standing: Standing) -> None:
        """End a session everywhere; raises Unreachable."""
        if standing.session and self._sessions is not None and standing.identity is not None:
            await self._sessions.end(standing.session)
            audit.record("logged out", standing.identity, standing.address)

    def csrf_matches(self, standing: Standing, given: str) -> bool:
        """Whether a change of a session carries the session's own token."""
        return bool(standing.csrf) and secrets.compare_digest(
            given.encode("utf-8", "surrogatepass"), standing.csrf.encode()
        )

    def _refused(self, what: str, address: str, detail: str) -> None:
        if self._logged.wait_s(address) == 0:
            self._logged.failed(address)
            audit.record(what, "", address, detail=detail[:200])


def session_id(headers: Headers) -> str:
    """The session's id in the Cookie header, empty when there is none."""
    for header in headers.getall("cookie", []):
        for part in header.split(";"):
            name, _, value = part.strip().partition("=")
            if name == COOKIE:
                return value[: ID_CHARS_MAX + 1]
    return ""


def unauthorized(detail: str) -> Problem:
    """The 401 for a credential that is missing or wrong."""
    return Problem(
        401,
        "unauthenticated",
        "Nobody is logged in",
        detail,
        "Log in at /login, or send: Authorization: Bearer TOKEN (snorri access token NAME).",
        headers={"WWW-Authenticate": 'Bearer realm="snorri"'},
    )
