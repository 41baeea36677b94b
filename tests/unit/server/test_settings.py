"""Goal: a setting comes from where it is said to, and a wrong one is named with its place.

Method: flags, environment and a file are given as values; nothing of this machine is read.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import SettingsError
from server.settings import (
    Settings,
    SettingWithOrigin,
    explain_settings,
    is_loopback,
    load_settings,
)


def _row(rows: tuple[SettingWithOrigin, ...], name: str) -> SettingWithOrigin:
    return next(row for row in rows if row.name == name)


def _toml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "snorri.toml"
    path.write_text(text)
    return path


def test_defaults_are_those_of_the_struct(tmp_path: Path) -> None:
    assert load_settings({}, {}, tmp_path / "snorri.toml") == Settings()
    assert load_settings({}, {}) == Settings()


def test_flag_beats_environment_beats_file_beats_default(tmp_path: Path) -> None:
    path = _toml(tmp_path, "port = 1\nnats_port = 1\nbucket = 'FILE'\n")
    env = {"SNORRI_PORT": "2", "SNORRI_NATS_PORT": "2", "PORT": "9"}
    rows = explain_settings({"port": 3, "host": None}, env, path)
    shown = {row.name: (row.value, row.origin) for row in rows}
    assert shown["port"] == (3, "flag --port")
    assert shown["nats_port"] == (2, "environment SNORRI_NATS_PORT")
    assert shown["bucket"] == ("FILE", f"{path}, key bucket")
    assert shown["host"] == ("127.0.0.1", "default")


def test_every_setting_explains_itself() -> None:
    rows = explain_settings({}, {})
    assert [row.name for row in rows] == list(Settings.__struct_fields__)
    assert all(len(row.help) > 10 and row.env and row.flag for row in rows)
    assert _row(rows, "nats_url").flag == "--nats-url"
    assert _row(rows, "nats_url").env == "SNORRI_NATS_URL"


def test_text_from_the_environment_becomes_the_type_of_the_field() -> None:
    env = {
        "SNORRI_APP": "shop.orders, shop.jobs,",
        "SNORRI_SYNC_ALWAYS": "false",
        "SNORRI_REPLICAS": "3",
        "SNORRI_STORE_BYTES_MAX": "1000",
        "SNORRI_NATS_URL": "",
    }
    settings = load_settings({}, env)
    assert settings.app == ("shop.orders", "shop.jobs")
    assert settings.sync_always is False
    assert settings.replicas == 3
    assert settings.store_bytes_max == 1000
    assert settings.nats_url is None


def test_a_list_may_come_as_flags_or_from_the_file(tmp_path: Path) -> None:
    assert load_settings({"app": ("a", "b")}, {}).app == ("a", "b")
    assert load_settings({}, {}, _toml(tmp_path, 'app = ["a", "b"]')).app == ("a", "b")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("prot = 1", "unknown setting 'prot'; did you mean port?"),
        ("zebra = 1", "known are: data, "),
        ("[nats]\nurl = 1", "unknown setting 'nats'"),
        ("port = '8092'", "key port is '8092': Expected `int`"),
        ("port = 65536", "<= 65535"),
        ("partitions = 0", ">= 1"),
        ("replicas = 2", "allowed are 1, 3, 5"),
        ("log_format = 'xml'", "allowed are auto, console, json"),
        ("bucket = 'a.b'", "Name of the JetStream bucket"),
        ('bucket = "A\\n"', "Name of the JetStream bucket"),
        ("port =", "can't be read"),
    ],
)
def test_a_wrong_line_of_the_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = _toml(tmp_path, text)
    with pytest.raises(SettingsError) as refused:
        load_settings({}, {}, path)
    assert words in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(SettingsError, match="environment SNORRI_PORT is 'tcp://10"):
        load_settings({}, {"SNORRI_PORT": "tcp://10.0.0.1:8092"})
    with pytest.raises(SettingsError, match="the command line has an unknown setting 'nats_prt'"):
        load_settings({"nats_prt": 1}, {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "example.com"])
def test_an_open_host_needs_users(host: str) -> None:
    with pytest.raises(SettingsError, match=r"can be reached from other machines.*SNORRI_AUTH"):
        load_settings({"host": host}, {})
    assert load_settings({"host": host}, {"SNORRI_AUTH": "users.toml"}).host == host
    assert _row(explain_settings({"host": host}, {}), "host").value == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_loopback_needs_none(host: str) -> None:
    assert is_loopback(host)
    assert load_settings({"host": host}, {}).host == host


def test_a_password_in_an_address_is_not_shown() -> None:
    rows = explain_settings({"nats_url": "nats://u:secret@h:4222,nats://t@i"}, {})
    assert _row(rows, "nats_url").shown == "nats://***@h:4222,nats://***@i"
    assert _row(rows, "app").shown == ""
    assert _row(rows, "auth").shown == ""


@pytest.mark.parametrize(
    "url", ["localhost:4222", "nats://", "http://h", "nats://h:0", "nats://[::1"]
)
def test_what_is_no_address_of_a_server_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match="write it as nats://host:4222"):
        load_settings({"nats_url": f"nats://good:4222, {url}"}, {})
    with pytest.raises(SettingsError) as refused:
        load_settings({"nats_url": "nats://me:secret@h:99999"}, {})
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["nats://h", "tls://u:p@h:4222", "nats://a:1, nats://b:2", "wss://h"]
)
def test_addresses_of_servers(url: str) -> None:
    assert load_settings({"nats_url": url}, {}).nats_url == url
