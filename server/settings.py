"""Every setting of Snorri: its type, limits, help, and where its value came from.

Order: command-line flag > environment ``SNORRI_*`` > ``snorri.toml`` > default. The Struct below is
the only list of settings; the command line, `snorri config` and the docs are made from it. Values
are checked here and nowhere else; nothing here starts or connects to anything.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from server.errors import SettingsError

ENV_PREFIX = "SNORRI_"
TOML_NAME = "snorri.toml"

Port = Annotated[int, Meta(ge=0, le=65535)]
URL_SCHEMES = ("nats", "tls", "ws", "wss")
URL_SHAPE = "nats://host:4222"
SUBJECT_PART = r"^[A-Za-z0-9_-]{1,64}\Z"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One checked set of settings; every field has its help beside its type."""

    data: Annotated[
        str, Meta(min_length=1, description="Directory of the embedded server and the projections")
    ] = ".snorri"
    archive: Annotated[
        str | None,
        Meta(description="Folder of archived history; unset: archive in the data directory"),
    ] = None
    nats_url: Annotated[
        str | None, Meta(description="NATS to connect to, nats://host:4222; unset: embedded server")
    ] = None
    nats_creds: Annotated[
        str | None, Meta(description="Credentials file for NATS: a user's seed, or JWT and seed")
    ] = None
    nats_tls_ca: Annotated[
        str | None, Meta(description="CA certificates (PEM) that NATS servers must be signed by")
    ] = None
    nats_tls_cert: Annotated[
        str | None, Meta(description="Our certificate (PEM), for NATS servers that ask for one")
    ] = None
    nats_tls_key: Annotated[
        str | None, Meta(description="Key of that certificate (PEM), unless it is in the same file")
    ] = None
    nats_port: Annotated[
        Port, Meta(description="Port of the embedded server; 0 takes any free one")
    ] = 4222
    app: Annotated[
        tuple[str, ...], Meta(description="Modules with sagas and jobs, comma separated")
    ] = ()
    host: Annotated[
        str,
        Meta(min_length=1, description="Address of the API and dashboard; not loopback needs auth"),
    ] = "127.0.0.1"
    port: Annotated[Port, Meta(description="Port of the API and dashboard; 0 takes any")] = 8092
    tls_cert: Annotated[
        str | None, Meta(description="Certificate (PEM) for HTTPS of the API; unset: plain HTTP")
    ] = None
    tls_key: Annotated[
        str | None, Meta(description="Key of that certificate (PEM), unless it is in the same file")
    ] = None
    tls_ca: Annotated[
        str | None, Meta(description="CA certificates (PEM) by which commands know an HTTPS API")
    ] = None
    bucket: Annotated[
        str, Meta(pattern=SUBJECT_PART, description="Name of the JetStream bucket and streams")
    ] = "SAGA"
    namespace: Annotated[
        str, Meta(pattern=SUBJECT_PART, description="First token of all our subjects")
    ] = "saga"
    partitions: Annotated[
        int,
        Meta(ge=1, le=64, description="Parts the messages are shared by; set at first start"),
    ] = 4
    replicas: Annotated[
        Literal[1, 3, 5], Meta(description="Copies of each stream in a NATS cluster")
    ] = 1
    auth: Annotated[
        str | None, Meta(description="File of users and tokens; unset: everyone on loopback")
    ] = None
    secrets: Annotated[
        tuple[str, ...],
        Meta(description="Names of secret fields, beside those marked in code, comma separated"),
    ] = ()
    sync_always: Annotated[
        bool, Meta(description="Embedded server: fsync before each acknowledgement")
    ] = True
    store_bytes_max: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="Embedded server: disk budget; unset: 80 % of what is free"),
    ] = None
    cluster: Annotated[
        Literal[1, 3, 5],
        Meta(description="Embedded servers; more than one form a cluster on this machine"),
    ] = 1
    inline_steps: Annotated[
        bool, Meta(description="Steps begin in the engine's process when it also runs their jobs")
    ] = True
    traces: Annotated[
        Literal["off", "otlp", "console"],
        Meta(description="Where OpenTelemetry spans go; OTEL_* variables say the rest"),
    ] = "off"
    metrics_port: Annotated[
        Port | None,
        Meta(description="Port for metrics and health of a process without an API; unset: none"),
    ] = None
    metrics_host: Annotated[
        str, Meta(min_length=1, description="Address of that port; it has no login")
    ] = "127.0.0.1"
    log_format: Annotated[
        Literal["auto", "console", "json"],
        Meta(description="auto: for people on a terminal, JSON lines elsewhere"),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Least level that is logged")
    ] = "info"


# Worked out once: the command line asks for them some hundred times while it is put together.
TYPES: Mapping[str, Any] = get_type_hints(Settings, include_extras=True)


class SettingWithOrigin(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as `snorri config` shows it; ``origin`` says in words where the value stands."""

    name: str
    value: Any  # of the type of its field in Settings
    origin: str
    env: str
    flag: str
    help: str

    @property
    def shown(self) -> str:
        """The value for people: lists joined, a password inside an address hidden."""
        if self.value is None:
            return ""
        if isinstance(self.value, tuple):
            return ",".join(map(str, self.value))
        return re.sub(r"(?<=//)[^/@]+@", "***@", str(self.value))


def load_settings(
    flags: Mapping[str, object], env: Mapping[str, str], toml_path: Path | None = None
) -> Settings:
    """The settings in force; raises SettingsError for an unknown key, a bad value or an open door.

    ``flags`` maps names of fields to values, None where not given; ``toml_path`` may not exist.
    """
    rows = explain_settings(flags, env, toml_path)
    settings = Settings(**{row.name: row.value for row in rows})
    check_addresses(settings)
    check_exposure(settings)
    return settings


def explain_settings(
    flags: Mapping[str, object], env: Mapping[str, str], toml_path: Path | None = None
) -> tuple[SettingWithOrigin, ...]:
    """Each setting with its origin, in the order of the Struct; raises SettingsError."""
    toml = _read_toml(toml_path) if toml_path is not None else {}
    _refuse_unknown(flags, TYPES, "the command line")
    _refuse_unknown(toml, TYPES, str(toml_path))
    rows: list[SettingWithOrigin] = []
    for field in msgspec.structs.fields(Settings):
        name = field.name
        env_name, flag_name = ENV_PREFIX + name.upper(), "--" + name.replace("_", "-")
        value, origin, typed = field.default, "default", True
        if flags.get(name) is not None:
            value, origin, typed = flags[name], f"flag {flag_name}", False
        elif env.get(env_name):
            value, origin, typed = env[env_name], f"environment {env_name}", False
        elif name in toml:
            value, origin = toml[name], f"{toml_path}, key {name}"
        rows.append(
            SettingWithOrigin(
                name=name,
                value=_convert(name, value, TYPES[name], origin, typed=typed),
                origin=origin,
                env=env_name,
                flag=flag_name,
                help=help_of(name),
            )
        )
    return tuple(rows)


def help_of(name: str) -> str:
    """The help text of a setting."""
    notes = TYPES[name].__metadata__
    return [one.description for one in notes if isinstance(one, Meta) and one.description][-1]


def check_addresses(settings: Settings) -> None:
    """Raises SettingsError when a server in nats_url is no address of one."""
    for part in (settings.nats_url or "").split(","):
        address = part.strip()
        if address and not _is_address(address):
            shown = address.rpartition("@")[2]
            raise SettingsError(
                f"nats_url names {shown!r}, which is no address of a NATS server; "
                f"write it as {URL_SHAPE}, several with commas between them"
            )


def _is_address(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in URL_SCHEMES and bool(url.hostname) and url.port != 0
    except ValueError:  # a port out of range, brackets that don't close
        return False


def check_exposure(settings: Settings) -> None:
    """Raises SettingsError when the API would be open to the network without any users."""
    if settings.auth is not None or is_loopback(settings.host):
        return
    raise SettingsError(
        f"host {settings.host} can be reached from other machines, and without users and tokens "
        "anyone there could read every payload and cancel or compensate any saga. Name a file with "
        "SNORRI_AUTH (or auth in snorri.toml), or keep host at 127.0.0.1."
    )


def is_loopback(host: str) -> bool:
    """True when only this machine can reach ``host``; an unknown name counts as open."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _read_toml(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} can't be read: {error}; mend or move the file") from None


def _refuse_unknown(given: Mapping[str, object], known: Mapping[str, object], where: str) -> None:
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(key.replace("-", "_"), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known)}"
            raise SettingsError(f"{where} has an unknown setting {key!r}; {hint}")


def _convert(name: str, value: object, kind: Any, origin: str, *, typed: bool) -> object:
    """``value`` as its field wants it; ``typed`` when it is no text that stands for something."""
    given = value
    if isinstance(value, str) and "tuple" in str(kind):
        value = [part.strip() for part in value.split(",") if part.strip()]
    try:
        return msgspec.convert(value, kind, strict=typed)
    except msgspec.ValidationError as error:
        base = get_args(kind)[0]
        allowed = get_args(base) if get_origin(base) is Literal else ()
        choices = f", allowed are {', '.join(map(str, allowed))}" if allowed else ""
        raise SettingsError(
            f"{origin} is {given!r}: {error}{choices}. Correct it there; {name}: {help_of(name)}"
        ) from None
