"""What Airflow discovers is true, and in the form it wants."""

from __future__ import annotations

import importlib
import json
import pkgutil
from importlib import resources

import pytest

import airflow_provider_binance_margin as package
from airflow_provider_binance_margin.get_provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR, get_provider_info

INFO = get_provider_info()
NAME = package.__name__


def load(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_it_has_the_form_airflow_checks():
    """Airflow's own schema accepts it."""
    import jsonschema

    schema = json.loads(resources.files("airflow").joinpath("provider_info.schema.json").read_text())

    jsonschema.validate(INFO, schema)


def test_it_is_json():
    """Nothing in it is an object of Python's own."""
    assert json.loads(json.dumps(INFO)) == INFO


def test_each_call_gives_its_own():
    """Who changes what he was given changes nothing for others."""
    get_provider_info()["connection-types"].clear()

    assert get_provider_info() == INFO


@pytest.mark.parametrize("connection", INFO["connection-types"], ids=lambda c: c["connection-type"])
def test_the_hook_is_the_one_that_is_named(connection):
    """The connection type, its name and its default id are the hook's own."""
    hook = load(connection["hook-class-name"])

    assert (hook.conn_type, hook.hook_name) == (connection["connection-type"], connection["hook-name"])
    assert hook.default_conn_name == f"{hook.conn_type}_default"
    assert hook.get_ui_field_behaviour() == UI_FIELD_BEHAVIOUR == connection["ui-field-behaviour"]


@pytest.mark.parametrize("path", INFO["extra-links"])
def test_links_can_be_imported(path):
    """Each extra link is a link of Airflow's kind."""
    from airflow.sdk import BaseOperatorLink

    assert issubclass(load(path), BaseOperatorLink)


def listed():
    for kind in ("hooks", "operators", "sensors", "triggers"):
        for entry in INFO.get(kind, []):
            yield from ((kind, module) for module in entry["python-modules"])
    yield from (("transfers", entry["python-module"]) for entry in INFO["transfers"])


@pytest.mark.parametrize(("kind", "module"), list(listed()))
def test_listed_modules_hold_what_they_are_listed_for(kind, module):
    """Each module can be imported and defines a public class of its kind."""
    suffix = {"transfers": "Operator"}.get(kind, kind.removesuffix("s").capitalize())
    found = [n for n, c in vars(importlib.import_module(module)).items() if n.endswith(suffix) and isinstance(c, type)]

    assert found
    assert module.startswith(f"{NAME}.{kind}.")


@pytest.mark.parametrize("kind", ["operators", "sensors", "triggers", "transfers"])
def test_every_public_module_is_listed(kind):
    """None is forgotten."""
    try:
        folder = importlib.import_module(f"{NAME}.{kind}")
    except ModuleNotFoundError:
        pytest.skip("there is no such folder")
    named = {
        m.name
        for m in pkgutil.iter_modules(folder.__path__)
        if m.name.startswith(("force_liquidation", "liquidation_report", "margin_history"))
    }

    assert {f"{NAME}.{kind}.{name}" for name in named} == {module for k, module in listed() if k == kind}


def test_all_modules_of_an_integration_name_it():
    """What is listed belongs to an integration that is described."""
    known = {each["integration-name"] for each in INFO["integrations"]}

    for kind in ("hooks", "operators", "sensors", "triggers"):
        assert {each["integration-name"] for each in INFO.get(kind, [])} <= known


def test_secret_fields_are_masked_by_their_name():
    """Airflow masks the fields of a connection's extra by name: the secret ones have such names, the path has none."""
    from versions import should_hide_value_for_key

    hidden = {name for name in CONN_FIELDS if should_hide_value_for_key(name)}

    assert {"private_key", "private_key_passphrase"} == hidden


def test_no_field_is_required():
    """Each field of the form may stay empty."""
    assert all("null" in field["schema"]["type"] for field in CONN_FIELDS.values())


@pytest.mark.parametrize("name", CONN_FIELDS)
def test_the_form_has_the_fields_that_the_hook_reads(name):
    """A field of the form means something: a wrong value of it is refused by name."""
    from types import SimpleNamespace

    from airflow_provider_binance_margin.hooks.settings import read_settings

    extra = {name: [5] if name not in ("recv_window", "timeout", "weight_share") else "x"}
    conn = SimpleNamespace(conn_id="c", host=None, port=None, login="k", password="s", extra_dejson=extra)

    with pytest.raises(Exception, match=name):
        read_settings(conn)
