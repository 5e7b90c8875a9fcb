"""Settings: strict values, one clear line for each mistake, secrets never shown."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from config.errors import SettingsError
from config.settings import Settings, load_settings, mask_url, variable

HUGE = "9" * 12


def refusal(**environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(environ)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_setting_is_read_somewhere() -> None:
    root = Path(__file__).resolve().parent.parent
    packages = ("config", "memory", "tools", "agents", "graphs", "runtime")
    product = "\n".join(
        path.read_text(encoding="utf-8") for package in packages for path in sorted((root / package).rglob("*.py"))
    )
    unread = [name for name in Settings.model_fields if not re.search(rf"(?:self|settings|made)\.{name}\b", product)]
    assert unread == [], "a setting that changes nothing misleads"


def test_without_an_environment_everything_is_embedded_and_offline(tmp_path: Path) -> None:
    settings = load_settings({}, data_dir=str(tmp_path))
    assert settings.records_url == f"sqlite:///{tmp_path}"
    assert settings.queue_url == f"sqlite:///{tmp_path / 'queue.db'}"
    assert settings.cache_url == f"sqlite:///{tmp_path / 'session.db'}"
    assert settings.model == "offline:"


def test_the_environment_overrides_a_default_and_the_command_line_overrides_both() -> None:
    environ = {"COPYDESK_CONCURRENCY": "3", "COPYDESK_DATA_DIR": "/a"}
    settings = load_settings(environ, data_dir="/b", model=None)
    assert (settings.concurrency, settings.data_dir, settings.model) == (3, Path("/b"), "offline:")
    assert settings.sources(environ)["concurrency"] == "environment"
    assert settings.sources(environ)["lease"] == "default"


def test_an_empty_variable_counts_as_unset() -> None:
    assert load_settings({"COPYDESK_CONCURRENCY": "", "OPENAI_API_KEY": ""}).concurrency == 8


@pytest.mark.parametrize("value", ["5abc", "1e3", " 5 ", "5.0", "0x10", "٥", "1_000", "+5", "NaN", "true", HUGE + "9"])
def test_a_whole_number_is_read_strictly(value: str) -> None:
    message = refusal(COPYDESK_CONCURRENCY=value)
    assert message.startswith(f"COPYDESK_CONCURRENCY={value!r}: ")
    assert "whole number" in message


@pytest.mark.parametrize("value", ["nan", "inf", "1e3", ".5", "5.", " 1", "1,5", "-"])
def test_money_is_read_strictly(value: str) -> None:
    assert "must be a number" in refusal(COPYDESK_SESSION_USD=value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("COPYDESK_CONCURRENCY", "0"),
        ("COPYDESK_CONCURRENCY", "-5"),
        ("COPYDESK_CONCURRENCY", "1001"),
        ("COPYDESK_MAX_QUEUE", "0"),
        ("COPYDESK_MAX_ATTEMPTS", "21"),
        ("COPYDESK_SESSION_USD", "-0.01"),
        ("COPYDESK_DRAIN", "-1"),
        ("COPYDESK_TASK_TIMEOUT", "0"),
        ("COPYDESK_RECONCILE_EVERY", "0"),
        ("COPYDESK_SETTLE", "-90"),
        ("COPYDESK_LATE_HORIZON", "-1"),
        ("COPYDESK_LATE_HORIZON", HUGE),
    ],
)
def test_a_number_out_of_range_is_refused_by_name(name: str, value: str) -> None:
    assert refusal(**{name: value}).startswith(f"{name}=")


def test_durations_are_seconds() -> None:
    settings = load_settings({"COPYDESK_LEASE": "90", "COPYDESK_HEARTBEAT": "2.5"})
    assert (settings.lease, settings.heartbeat) == (timedelta(seconds=90), timedelta(milliseconds=2500))


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"COPYDESK_LEASE": "20"}, "COPYDESK_HEARTBEAT (10 s) must be at most a third of COPYDESK_LEASE (20 s)"),
        ({"COPYDESK_HEARTBEAT": "0"}, "COPYDESK_HEARTBEAT must be more than 0 s"),
        (
            {"COPYDESK_MODEL_TIMEOUT": "80"},
            "COPYDESK_NODE_TIMEOUT (240 s) must be over three times COPYDESK_MODEL_TIMEOUT (80 s)",
        ),
        (
            {"COPYDESK_SEND_TIMEOUT": "20"},
            "COPYDESK_SEND_TIMEOUT (20 s) must be more than 0 s and shorter than COPYDESK_PERMIT (20 s)",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(environ: dict[str, str], said: str) -> None:
    assert said in refusal(**environ)


def test_an_unknown_setting_is_refused_with_the_nearest_name() -> None:
    assert "did you mean 'COPYDESK_QUEUE'?" in refusal(COPYDESK_QEUE="redis://localhost")


def test_test_settings_are_ignored() -> None:
    assert load_settings({"COPYDESK_TEST_ASTRA_ENDPOINT": "http://127.0.0.1:1"}) == Settings()


def test_variables_of_other_programs_are_ignored() -> None:
    assert load_settings({"PATH": "/bin", "OPENAI_ORG": "x", "copydesk_queue": "y"}) == Settings()


@pytest.mark.parametrize("name", ["records", "queue", "cache"])
@pytest.mark.parametrize("url", ["postgres://h/db", "sqlite", "/a/file.db", "redis:/h", "://"])
def test_a_store_url_of_an_unknown_scheme_is_refused_by_name(name: str, url: str) -> None:
    assert f"{variable(name)} " in refusal(**{variable(name): url})


@pytest.mark.parametrize(
    "url", ["mysql://user:hunter22@host/db", "mysql://user:hunt@er22@host", "mysql://:hunter22@[bad"]
)
def test_a_refused_url_is_shown_without_its_password(url: str) -> None:
    assert "er22" not in refusal(COPYDESK_QUEUE=url)


def test_a_refused_secret_is_not_shown() -> None:
    assert "hunter22" not in refusal(COPYDESK_CONCURRENCY="x", OPENAI_API_KEY="hunter22")


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    settings = load_settings({"OPENAI_API_KEY": "sk-canary-1", "COPYDESK_ASTRA_TOKEN": "AstraCS:canary-2"})
    assert "canary" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


def test_settings_cannot_be_changed_after_they_were_read() -> None:
    with pytest.raises(ValidationError):
        Settings().concurrency = 9  # type: ignore[misc]


def test_every_setting_is_described_and_a_duration_says_its_unit() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        if isinstance(field.default, timedelta):
            assert "in seconds" in field.description, name
        if name.endswith("_usd"):
            assert "in US dollars" in field.description, name


@given(password=st.text(st.characters(codec="utf-8", exclude_characters="/?#[]@: \t\r\n"), min_size=1))
def test_a_masked_url_never_shows_its_password(password: str) -> None:
    secret = f"<{password}>"
    assert secret not in mask_url(f"redis://user:{secret}@localhost:6379/0")


@given(value=st.text(min_size=1))
def test_any_text_is_either_a_number_or_one_line_of_refusal(value: str) -> None:
    with suppress(SettingsError):
        assert 1 <= load_settings({"COPYDESK_CONCURRENCY": value}).concurrency <= 1000
        return
    assert refusal(COPYDESK_CONCURRENCY=value)


@pytest.mark.parametrize(
    "name", [name for name, field in Settings.model_fields.items() if "pattern" in repr(field.metadata)]
)
def test_a_setting_of_a_fixed_form_says_what_to_write_and_not_the_expression(name: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({f"COPYDESK_{name.upper()}": "nonsense here"})
    assert "pattern" not in str(refused.value)
    assert re.search(r": (use|write) ", str(refused.value))
