"""CSV tables beside a site file: rows are entries of its lists; what is wrong is named by line and column."""

from __future__ import annotations

import csv
import datetime as dt
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit.test_request_command import Run

from gcloud_pk.commands.node import site_files
from gcloud_pk.errors import RefusedError
from gcloud_pk.model.site import Site
from gcloud_pk.registry import governance, tables
from gcloud_pk.registry.folder import Registry
from gcloud_pk.registry.sites import SiteFile, read_file

TODAY = dt.date(2026, 11, 22)
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHost{}"
SITE: dict[str, Any] = {
    "apiVersion": "gcloud.gov.pk/v1alpha1",
    "kind": "Site",
    "metadata": {"name": "khi-1"},
    "spec": {
        "operator": "NTC",
        "location": {"city": "Karachi", "province": "sindh", "kind": "government"},
        "admits": ["open", "restricted"],
        "clusters": [{"name": "khi-1-a"}],
    },
}
HOSTS = f"""\
name,address,rack,role,kw,powerSupplies,hostKeys
w1,10.207.0.21,rack-1,worker,0.4,pdu-a;pdu-b,{KEY.format(1)}
w2,10.207.0.22,rack-1,,,,{KEY.format(2)};{KEY.format(3)}
"""
POWER = "name,kind,kw,room,group\nutility-a,utility,100,,\npdu-a,pdu,20,hall-1,\npdu-b,pdu,20,hall-1,\n"
LINKS = "from,to\nutility-a,pdu-a\nutility-a,pdu-b\n"
RACKS = "name,room,row,kw,feeds,cooling,switches\nrack-1,hall-1,a,12,pdu-a;pdu-b,,\n"
TABLES = {"hosts": HOSTS, "powerComponents": POWER, "powerLinks": LINKS, "racks": RACKS}

Lay = Callable[..., Path]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], registry_folder: Path) -> Run:
    return Run(capsys, registry_folder)


@pytest.fixture
def trust(tmp_path: Path, public: Callable[[str], str]) -> Path:
    path = tmp_path / "trust"
    path.write_text(f'keeper@ntc.example namespaces="gcloud-pk-registry" {public("keeper")}\n')
    return path


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """Write a site file with tables beside it; return the path of the site file."""

    def lay(contents: dict[str, str | bytes], folder: Path = tmp_path, **spec: Any) -> Path:
        named = {field: f"khi-1.{field.lower()}.csv" for field in contents}
        for field, content in contents.items():
            data = content if isinstance(content, bytes) else content.encode()
            (folder / named[field]).write_bytes(data)
        path = folder / "khi-1.yaml"
        path.write_text(yaml.safe_dump(SITE | {"spec": SITE["spec"] | {"tables": named} | spec}, sort_keys=False))
        return path

    return lay


def said(found: SiteFile) -> list[str]:
    return [str(wrong).replace(f"{Path(str(wrong.file)).parent}/", "") for wrong in found.problems]


def site_of(path: Path) -> Site:
    found = read_file(path)
    assert said(found) == []
    assert found.site is not None
    return found.site


def test_rows_are_what_the_same_entries_in_the_site_file_are(lay: Lay) -> None:
    spec = site_of(lay(TABLES)).spec
    whole = {
        "hosts": [
            {"name": "w1", "address": "10.207.0.21", "rack": "rack-1", "role": "worker", "kw": 0.4,
             "powerSupplies": ["pdu-a", "pdu-b"], "hostKeys": [KEY.format(1)]},
            {"name": "w2", "address": "10.207.0.22", "rack": "rack-1", "hostKeys": [KEY.format(2), KEY.format(3)]},
        ],
        "racks": [{"name": "rack-1", "room": "hall-1", "row": "a", "kw": 12, "feeds": ["pdu-a", "pdu-b"]}],
        "power": {
            "components": [
                {"name": "utility-a", "kind": "utility", "kw": 100},
                {"name": "pdu-a", "kind": "pdu", "kw": 20, "room": "hall-1"},
                {"name": "pdu-b", "kind": "pdu", "kw": 20, "room": "hall-1"},
            ],
            "links": [{"from": "utility-a", "to": "pdu-a"}, {"from": "utility-a", "to": "pdu-b"}],
        },
    }  # fmt: skip
    written = Site.model_validate(SITE | {"spec": SITE["spec"] | whole}).spec
    assert spec.model_copy(update={"tables": written.tables}) == written


def test_rows_follow_what_the_site_file_lists_itself(lay: Lay) -> None:
    host = {"name": "c1", "address": "10.207.0.11", "hostKeys": [KEY.format(9)]}
    path = lay({"hosts": HOSTS}, hosts=[host], power=yaml.safe_load(_POWER_IN_YAML))
    assert [one.name for one in site_of(path).spec.hosts] == ["c1", "w1", "w2"]


_POWER_IN_YAML = "components: [{name: pdu-a, kind: pdu, kw: 9}, {name: pdu-b, kind: pdu, kw: 9}]"


@pytest.mark.parametrize("field", tables.TABLES)
def test_every_table_has_its_columns_from_the_model(lay: Lay, field: str) -> None:
    columns = list(tables.TABLES[field].columns)
    path = lay({field: ",".join(columns) + "\n"})
    assert read_file(path).problems == ()
    assert set(tables.TABLES[field].required) <= set(columns)


@pytest.mark.parametrize(
    "data",
    [b"\xef\xbb\xbf" + HOSTS.encode(), HOSTS.replace("\n", "\r\n").encode(), HOSTS.rstrip("\n").encode(),
     HOSTS.replace("\nw2", "\n\nw2").encode(), HOSTS.replace("rack-1,worker", '"rack-1","worker"').encode()],
    ids=["byte order mark", "Windows line ends", "no end of line", "an empty line", "quotes"],
)  # fmt: skip
def test_a_table_may_come_from_any_spreadsheet(lay: Lay, data: bytes) -> None:
    path = lay(TABLES | {"hosts": data})
    assert [host.name for host in site_of(path).spec.hosts] == ["w1", "w2"]


BAD: dict[str, tuple[dict[str, str | bytes], list[str]]] = {
    "a supply that is not there": (
        {"hosts": HOSTS.replace("pdu-a;pdu-b", "pdu-a;pdu-z")},
        [("khi-1.hosts.csv:2: powerSupplies[1]: the site has no power component 'pdu-z'; expected "
          "one that it has, such as pdu-b")],
    ),
    "a role that is none, and a capacity that is none": (
        {"hosts": HOSTS.replace(",worker,0.4", ",wroker,-4")},
        ["khi-1.hosts.csv:2: kw: cannot be -4; expected kW above 0, at most 1000000, no finer than a watt (0.001)",
         "khi-1.hosts.csv:2: role: cannot be 'wroker'; expected control-plane, worker, storage, gateway or plain"],
    ),
    "a number that is none": (
        {"racks": RACKS.replace(",12,", ",12 kW,")},
        ["khi-1.racks.csv:2: kw: cannot be '12 kW'; expected a number of kW, such as 12 or 0.4"],
    ),
    "a cell that must be there": (
        {"hosts": HOSTS.replace("w2,10.207.0.22", "w2,")},
        ["khi-1.hosts.csv:3: address: is missing; expected where sshd answers"],
    ),
    "an address twice": (
        {"hosts": HOSTS.replace("10.207.0.22", "10.207.0.21")},
        ["khi-1.hosts.csv:3: address: 10.207.0.21 is that of host w1 already; expected each its own"],
    ),
    "a loop": (
        {"powerLinks": LINKS + "pdu-a,pdu-b\npdu-b,pdu-a\n"},
        [("khi-1.powerlinks.csv:5: closes a loop: pdu-a → pdu-b → pdu-a; expected links that lead "
          "from the source to the load")],
    ),
    "a capacity that is missing": (
        {"powerComponents": POWER.replace("pdu-a,pdu,20", "pdu-a,pdu,")},
        ["khi-1.powercomponents.csv:3: kw: the capacity of pdu 'pdu-a' is missing; expected its capacity in kW"],
    ),
    "a column that is none, one twice and one missing": (
        {"hosts": HOSTS.replace("address", "adress").replace(",role,", ",rack,")},
        ["khi-1.hosts.csv:1: address: is no column here; expected in the first line",
         "khi-1.hosts.csv:1: adress: 'adress' is no column of this table; expected 'address'",
         "khi-1.hosts.csv:1: rack: stands twice; expected each column once"],
    ),
    "rows of other lengths": (
        {"powerLinks": LINKS + "pdu-a\nutility-a,pdu-a,x\n"},
        ["khi-1.powerlinks.csv:4: has 1 cell; expected 2, as the header",
         "khi-1.powerlinks.csv:5: has 3 cells; expected 2, as the header"],
    ),
    "rows of other lengths among rows with wrong cells": (
        {"hosts": HOSTS + "w3,10.207.0.23\n" + f"w4,here,rack-1,worker,-1,,{KEY.format(7)}\n"},
        ["khi-1.hosts.csv:4: has 2 cells; expected 7, as the header",
         "khi-1.hosts.csv:5: address: cannot be 'here'; expected an IP address, such as 10.207.0.11",
         "khi-1.hosts.csv:5: kw: cannot be -1; expected kW above 0, at most 1000000, no finer than a watt (0.001)"],
    ),
    "a quote that is not closed": (
        {"powerLinks": LINKS + '"pdu-a,x\n'},
        [("khi-1.powerlinks.csv:4: is no CSV: unexpected end of data; expected cells as RFC 4180 "
          "has them: quotes around a cell that holds a comma, doubled inside")],
    ),
    "nothing in it": (
        {"powerLinks": ""},
        ["khi-1.powerlinks.csv:1: has no header; expected the columns from, to"],
    ),
    "not UTF-8": (
        {"powerLinks": LINKS.encode() + b"pdu-\xff,x\n"},
        ["khi-1.powerlinks.csv:4: holds bytes that are not UTF-8; expected a text in UTF-8"],
    ),
    "a character that hides what the line says": (
        {"powerLinks": LINKS.replace("pdu-b", "pdu-b\u202e")},
        [("khi-1.powerlinks.csv:3: holds U+202E RIGHT-TO-LEFT OVERRIDE; expected no characters "
          "that hide what the line says")],
    ),
    "rows of nothing, as spreadsheets leave them": (
        {"powerLinks": LINKS + ",\n , \n"},
        ["khi-1.powerlinks.csv:4: is a row of empty cells; expected values, or no such line",
         "khi-1.powerlinks.csv:5: is a row of empty cells; expected values, or no such line"],
    ),
    "formulas": (
        {"hosts": HOSTS.replace("rack-1,worker,0.4", '"=CONCAT(""rack-"",1)",worker,=1+1')},
        ["khi-1.hosts.csv:2: kw: is a formula; expected the value that it comes to",
         "khi-1.hosts.csv:2: rack: is a formula; expected the value that it comes to"],
    ),
    "a cell without an end": (
        {"powerLinks": LINKS + "pdu-a," + "x" * 200_000 + "\n"},
        [("khi-1.powerlinks.csv:4: is no CSV: field larger than field limit (131072); expected cells of at most "
         "131072 characters")],
    ),
    "a line break in quotes, and a mistake after it": (
        {"hosts": HOSTS.replace(",rack-1,worker", ',"rack\n-1",worker').replace("10.207.0.22", "x")},
        [("khi-1.hosts.csv:2: rack: cannot be 'rack\\n-1'; expected a DNS label: lower-case letters, digits and '-', "
         "beginning and ending with a letter or digit"),
         "khi-1.hosts.csv:4: address: cannot be 'x'; expected an IP address, such as 10.207.0.11"],
    ),
    "fifty megabytes": (
        {"powerLinks": LINKS + "utility-a,pdu-a\n" * 3_200_000},
        ["khi-1.powerlinks.csv: is larger than 16 MiB; expected at most 16 MiB"],
    ),
    "UTF-16": (
        {"powerLinks": LINKS.encode("utf-16")},
        ["khi-1.powerlinks.csv:1: holds bytes that are not UTF-8; expected a text in UTF-8"],
    ),
    "a first line for spreadsheets": (
        {"powerLinks": "sep=;\n" + LINKS},
        ["khi-1.powerlinks.csv:1: separates its columns by ';'; expected commas, as RFC 4180 has them"],
    ),
    "separated by semicolons": (
        {"powerLinks": LINKS.replace(",", ";")},
        ["khi-1.powerlinks.csv:1: separates its columns by ';'; expected commas, as RFC 4180 has them"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_with_a_table_is_named_by_file_line_and_column(lay: Lay, case: str) -> None:
    changed, expected = BAD[case]
    found = read_file(lay(TABLES | changed))
    assert said(found) == expected
    assert found.site is None
    assert (found.reading and found.reading.model) is None or case in _RULES


_RULES = {"a supply that is not there", "an address twice", "a loop", "a capacity that is missing"}
"""What rules find: the reading by itself is well formed."""


def test_a_table_that_cannot_be_read_makes_nothing_else_wrong(lay: Lay) -> None:
    found = read_file(lay(TABLES | {"racks": "nam\n", "powerComponents": "nam\n"}))
    assert {str(wrong.file).rpartition("/")[2] for wrong in found.problems} == {
        "khi-1.racks.csv",
        "khi-1.powercomponents.csv",
    }


def test_a_table_outside_of_a_registry_may_not_be_a_link_to_elsewhere(lay: Lay, tmp_path: Path) -> None:
    """Its first line would be shown as a header that is none: of whatever file the writer of the site chose."""
    (tmp_path / "secret").write_text("root:x:0:0\n")
    folder = tmp_path / "site"
    folder.mkdir()
    path = lay(TABLES, folder)
    (folder / "khi-1.hosts.csv").unlink()
    (folder / "khi-1.hosts.csv").symlink_to(tmp_path / "secret")
    with pytest.raises(RefusedError, match="leads out of") as refused:
        read_file(path)
    assert "root:" not in str(refused.value.details)


def test_a_list_that_is_none_is_named_in_the_site_file(lay: Lay) -> None:
    (wrong,) = said(read_file(lay({"hosts": HOSTS}, hosts="see the table")))
    assert wrong.startswith("khi-1.yaml:")
    assert wrong.endswith("spec.hosts: cannot be 'see the table'; expected a list")


# --- in a registry ---


@pytest.fixture
def sites(registry_folder: Path) -> Path:
    (registry_folder / "sites").mkdir(exist_ok=True)
    return registry_folder / "sites"


def test_the_bytes_of_tables_are_covered_by_the_registrys_signature(lay: Lay, sites: Path) -> None:
    lay(TABLES, sites)
    found = governance.read(sites.parent)
    assert found.problems == ()
    assert {name for name in found.files if name.startswith("sites/khi-1")} == {
        "sites/khi-1.yaml", "sites/khi-1.hosts.csv", "sites/khi-1.racks.csv", "sites/khi-1.powerlinks.csv",
        "sites/khi-1.powercomponents.csv",
    }  # fmt: skip
    assert found.files["sites/khi-1.hosts.csv"] == HOSTS.encode()
    assert len(found.sites["khi-1"].spec.hosts) == 2


def test_the_record_of_a_run_over_nodes_covers_tables_too(lay: Lay, sites: Path) -> None:
    lay(TABLES, sites)
    registry = Registry(sites.parent)
    found = site_files(registry, registry.sites["khi-1"])
    assert set(found) == {name for name in registry.governance.files if name.startswith("sites/khi-1")}
    assert found["sites/khi-1.hosts.csv"] == HOSTS.encode()


def test_a_row_changed_after_the_signature_is_refused(run: Run, lay: Lay, sites: Path, keys: Path, trust: Path) -> None:
    lay(TABLES, sites)
    assert run("registry", "sign", "--key", keys / "keeper") == 0
    assert run("registry", "check", "--trust", trust) == 0
    (sites / "khi-1.hosts.csv").write_text(HOSTS.replace("10.207.0.22", "10.207.0.66"))
    assert run("registry", "check", "--trust", trust) == 4
    assert "khi-1.hosts.csv: was changed since the registry was signed" in run.err


@pytest.mark.parametrize("name", ["khi-1.other.csv", "khi-2.hosts.csv", "hosts.csv", "khi-1.hosts.txt"])
def test_a_file_that_no_site_names_is_refused(lay: Lay, sites: Path, name: str) -> None:
    lay(TABLES, sites)
    (sites / name).write_text(HOSTS)
    (wrong,) = governance.read(sites.parent).problems
    assert str(wrong) == (
        f"{sites / name}: is not a site; expected NAME.yaml, or a table that spec.tables of one names"
    )


def test_tables_of_a_site_that_cannot_be_read_are_not_complained_of(lay: Lay, sites: Path) -> None:
    lay(TABLES, sites).write_text("a: [\n")
    assert {wrong.file for wrong in governance.read(sites.parent).problems} == {str(sites / "khi-1.yaml")}


def test_a_conflict_of_git_in_a_table_is_said_to_be_one(lay: Lay, sites: Path) -> None:
    lay(TABLES | {"powerLinks": LINKS + "<<<<<<< HEAD\npdu-a,x\n"}, sites)
    (wrong,) = governance.read(sites.parent).problems
    assert (wrong.line, wrong.message) == (4, "holds a git conflict")


def test_a_table_that_is_a_link_out_of_the_registry_is_refused(run: Run, lay: Lay, sites: Path, tmp_path: Path) -> None:
    lay(TABLES, sites)
    (tmp_path / "elsewhere.csv").write_text(HOSTS)
    (sites / "khi-1.hosts.csv").unlink()
    (sites / "khi-1.hosts.csv").symlink_to(tmp_path / "elsewhere.csv")
    assert run("registry", "check") == 4


def test_init_copies_the_tables_of_a_site_with_it(run: Run, lay: Lay, tmp_path: Path) -> None:
    source = tmp_path / "sites"
    source.mkdir()
    lay(TABLES, source)
    assert run("registry", "init", tmp_path / "new", "--sites", source, registry=False) == 0
    assert (tmp_path / "new" / "sites" / "khi-1.hosts.csv").read_text() == HOSTS
    (source / "khi-1.hosts.csv").unlink()
    assert run("registry", "init", tmp_path / "other", "--sites", source, registry=False) == 3
    assert "there is no khi-1.hosts.csv beside it" in run.err


# --- large inventories ---


def many(number: int) -> dict[str, str | bytes]:
    """Return tables of a site of `number` hosts, twenty to a rack."""
    rows: dict[str, list[list[str]]] = {field: [list(tables.TABLES[field].columns)] for field in TABLES}
    rows["powerComponents"].append(["utility-a", "9000", "", "", "utility", ""])
    for r in range(number // 20):
        pair = [f"pdu-{r}-a", f"pdu-{r}-b"]
        rows["powerComponents"] += [[pdu, "20", "hall-1", "", "pdu", ""] for pdu in pair]
        rows["powerLinks"] += [["utility-a", pdu] for pdu in pair]
        rows["racks"].append([f"rack-{r}", "hall-1", "a", "12", ";".join(pair), "", ""])
        for n in range(20):
            said = {"name": f"n{r}-{n}", "address": f"10.{r // 250}.{r % 250}.{n + 1}", "rack": f"rack-{r}",
                    "hostKeys": KEY.format(f"{r:04}{n:02}"), "kw": "0.4", "powerSupplies": ";".join(pair)}  # fmt: skip
            rows["hosts"].append([said.get(column, "") for column in rows["hosts"][0]])
    written: dict[str, str | bytes] = {}
    for field, lines in rows.items():
        text = io.StringIO()
        csv.writer(text).writerows(lines)
        written[field] = text.getvalue()
    return written


def test_a_site_of_five_thousand_hosts_is_read_in_two_seconds(lay: Lay) -> None:
    path = lay(many(5000))
    begun = time.process_time()
    site = site_of(path)
    assert time.process_time() - begun < 2
    assert len(site.spec.hosts) == 5000


def test_what_is_wrong_with_every_row_is_said_in_time_too(lay: Lay) -> None:
    tables = many(2000)
    path = lay(tables | {"hosts": str(tables["hosts"]).replace("10.", "1O.").replace("pdu-", "pud-")})
    begun = time.process_time()
    found = read_file(path)
    assert time.process_time() - begun < 10
    assert len(found.problems) == 2000 * 3
