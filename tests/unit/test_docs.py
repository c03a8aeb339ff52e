"""The documentation holds: it builds, its links lead somewhere, and nothing public is left out."""

from __future__ import annotations

import ast
import inspect
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from programs import python

from airflow_provider_binance_margin.exchange.datasets import DATASETS
from airflow_provider_binance_margin.exchange.errors import ERRORS
from airflow_provider_binance_margin.get_provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_binance_margin.operators.liquidation_report import LiquidationReportOperator
from airflow_provider_binance_margin.operators.margin_history_audit import MarginHistoryAuditOperator
from airflow_provider_binance_margin.sandbox.mishaps import KINDS
from airflow_provider_binance_margin.sensors.margin_history import MarginHistorySensor
from airflow_provider_binance_margin.transfers.lake_operator import LakeOperator
from airflow_provider_binance_margin.transfers.margin_history_to_s3 import MarginHistoryToS3Operator
from airflow_provider_binance_margin.triggers.margin_history import MarginHistoryEventTrigger

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README_PAIR = ("README.md", "README.zh-CN.md")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
#: beside a claim: what shows it, as `<!-- tests: tests/unit/test_docs.py::site, benchmarks/run.py -->`
EVIDENCE = re.compile(r"<!-- tests: (.*?) -->", re.DOTALL)
PAGES = [*(ROOT / name for name in README_PAIR), *sorted(DOCS.rglob("*.md"))]


class Page(HTMLParser):
    """The anchors of a page, and what it refers to."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.refers = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.anchors |= {attrs[name] for name in ("id", "name") if attrs.get(name)}
        self.refers += [(tag, attrs[name]) for name in ("href", "src") if attrs.get(name)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` builds it."""
    pytest.importorskip("mkdocs")
    target = tmp_path_factory.mktemp("site")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env = {**kept, "NO_MKDOCS_2_WARNING": "1"}
    python("-m", "mkdocs", "build", "--strict", "--site-dir", target, cwd=ROOT, env=env)

    return {page.relative_to(target).as_posix(): Page(page.read_text()) for page in target.rglob("*.html")}, target


def parameters(kind):
    """What the package's own classes of a kind take, by name."""
    own = (base for base in kind.__mro__ if base.__module__.startswith("airflow_provider_binance_margin"))
    signatures = (inspect.signature(base.__init__) for base in own if "__init__" in vars(base))
    named = {p.name for s in signatures for p in s.parameters.values() if p.kind is p.KEYWORD_ONLY}
    return sorted(named)


def test_every_link_of_the_site_leads_somewhere(site):
    """Pages, anchors, pictures, styles and scripts: all are in the site."""
    pages, target = site
    dead = []
    for name, page in pages.items():
        for _, reference in page.refers:
            url = urlsplit(reference)
            if url.scheme or url.netloc or name == "404.html":
                continue
            path = (target / name).parent / unquote(url.path) if url.path else target / name
            file = path.resolve()
            other = pages.get(file.relative_to(target.resolve()).as_posix())
            if not file.exists() or (url.fragment and other and unquote(url.fragment) not in other.anchors):
                dead.append((name, reference))

    assert not dead


def test_the_site_needs_nothing_from_elsewhere(site):
    """No style, script, font or picture is fetched from another host."""
    pages, target = site
    loaded = [(n, r) for n, p in pages.items() for tag, r in p.refers if tag in ("script", "img", "link", "iframe")]
    styles = [css.name for css in target.rglob("*.css") if re.search(r"url\(['\"]?(https?:)?//", css.read_text())]

    assert not [(name, ref) for name, ref in loaded if urlsplit(ref).netloc]
    assert not styles


@pytest.mark.parametrize("name", README_PAIR)
def test_every_link_of_the_readme_leads_somewhere(name):
    """What stands beside the README is there."""
    text = FENCE.sub("", (ROOT / name).read_text())
    targets = [a or b for a, b in LINK.findall(text)]

    assert not [t for t in targets if not urlsplit(t).scheme and not (ROOT / t.partition("#")[0]).exists()]


def test_the_readmes_show_the_same_code():
    """The Chinese README is as full as the English one: the same blocks of code, but for their comments."""
    blocks = [
        [re.sub(r"\s*(#|//).*", "", block) for block in FENCE.findall((ROOT / name).read_text())]
        for name in README_PAIR
    ]
    tables = [len(re.findall(r"^\|[-|]+\|$", (ROOT / name).read_text(), re.MULTILINE)) for name in README_PAIR]
    headings = [len(re.findall(r"^## ", (ROOT / name).read_text(), re.MULTILINE)) for name in README_PAIR]

    assert blocks[0] == blocks[1]
    assert tables[0] == tables[1]
    assert headings[0] == headings[1]


@pytest.mark.parametrize("page", sorted((DOCS / "zh").glob("*.md")), ids=lambda path: path.name)
def test_chinese_pages_show_the_same_code(page):
    """Each block of code is in the English page too, but for comments and line breaks."""

    def bare(text):
        return re.sub(r"\\\n|\s", "", re.sub(r"#.*", "", text))

    english = bare((DOCS / page.name).read_text())
    blocks = [bare(block.partition("\n")[2][:-3]) for block in FENCE.findall(page.read_text())]

    assert not [block for block in blocks if block not in english]


@pytest.mark.parametrize("code", ERRORS)
def test_every_error_code_is_explained(code):
    """What is seen, what it means, what to do: one row of troubleshooting for each code, with the package's meaning."""
    (row,) = re.findall(rf"^\| {code} \| (.+) \| (.+) \|$", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)

    assert ERRORS[code].text.startswith(row[0])
    assert row[1].strip()


def said():
    """All that the package's own code may say, what it fills in left out."""
    package = ROOT / "airflow_provider_binance_margin"
    files = [file for file in package.rglob("*.py") if "sandbox" not in file.parts]
    for node in (node for file in files for node in ast.walk(ast.parse(file.read_text()))):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"%[.\d]*[sdf]", "…", node.value)


@pytest.mark.parametrize(("page", "heading"), [("troubleshooting.md", "what you see"), ("connection.md", "message")])
def test_messages_are_quoted_as_they_are(page, heading):
    """What one sees is what one finds: the first column holds the package's own words, but for what is in italics."""
    tables = re.findall(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", (DOCS / page).read_text(), re.MULTILINE)
    quoted = [row.split("|")[1].strip() for table in tables for row in table.splitlines()]
    # what messages fill in, where the page gives an example
    filled = re.compile(r"…|[:;()]|\b(?:\d+|days|start|end|HEAD or PUT|AccessDenied)\b")
    texts = list(said())
    parts = [(cell, part.strip(" ,.")) for cell in quoted if cell[0] != "*" for part in filled.split(cell)]

    assert len(quoted) > 7
    assert not [(cell, part) for cell, part in parts if not any(part in text for text in texts)]


def test_no_error_code_is_invented():
    """The page explains no code that the package does not know."""
    codes = re.findall(r"^\| (-\d+) \|", (DOCS / "troubleshooting.md").read_text(), re.MULTILINE)

    assert sorted(map(int, codes)) == sorted(ERRORS)


def described_parameters(kind):
    """What the docstrings of the package's own classes of a kind describe."""
    own = [base for base in kind.__mro__ if base.__module__.startswith("airflow_provider_binance_margin")]
    return [name for base in own for name in re.findall(r":param (\w+):", vars(base).get("__doc__") or "")]


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        ("operator.md", MarginHistoryToS3Operator),
        ("audit.md", MarginHistoryAuditOperator),
        ("report.md", LiquidationReportOperator),
        ("sensor.md", MarginHistorySensor),
        ("events.md", MarginHistoryEventTrigger),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_every_parameter_is_documented(page, kind):
    """In its guide's table of parameters, and once in the docstring of the class that takes it; and no other is."""
    text = (DOCS / page).read_text()
    table = text.partition("## Parameters")[2].partition("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]

    assert sorted(name for row in rows for name in re.findall(r"`(\w+)`", row)) == parameters(kind)
    described = described_parameters(kind)
    shared = described_parameters(LakeOperator) if "`LakeOperator`" in kind.__doc__ else []
    assert sorted([*described, *{*parameters(kind)}.intersection(shared).difference(described)]) == parameters(kind)


def test_every_dataset_is_documented():
    """In a table of what its declaration says: the rows that the failure shows are to be in it."""
    rows = [
        (
            f"`{dataset.name}`",
            f"`{dataset.path.removeprefix('/sapi/v1/margin/')}`",
            ", ".join(f"`{name}`" for name in dataset.record_key),
            "exhausted" if dataset.is_ledger else "total",
            f"{dataset.max_span.days} days",
            f"{dataset.memory.days} days" if dataset.memory else "not documented",
            f"{dataset.weight} {dataset.weight_kind}",
            f"`{dataset.pair_param}`" if dataset.pair_param else "cross account only",
            ", ".join(f"`{name}`" for name in dataset.filters) or "none",
        )
        for dataset in DATASETS.values()
    ]
    table = (DOCS / "data.md").read_text().splitlines()
    assert [row for row in (f"| {' | '.join(cells)} |" for cells in rows) if row not in table] == []


@pytest.mark.parametrize(("row", "pairs"), [("account and one pair", 1), ("account and three pairs", 3)])
def test_the_cost_of_a_day_is_that_of_its_datasets(row, pairs):
    """Of windows that one answer holds: one request each, and two where no total is stated."""
    requests, weights = 0, {"IP": 0, "UID": 0}
    for dataset in DATASETS.values():
        number = (1 + pairs * bool(dataset.pair_param)) * (2 if dataset.is_ledger else 1)
        requests += number
        weights[dataset.weight_kind] += number * dataset.weight

    stated = f"| daily, all datasets, {row} | {requests} | {weights['IP']} IP, {weights['UID']} UID |"
    assert [line for line in (DOCS / "choose.md").read_text().splitlines() if line.startswith(stated)], stated


def test_the_connection_form_is_documented():
    """Each field by the label that the form shows, and by its name."""
    text = (DOCS / "connection.md").read_text()
    labels = [*UI_FIELD_BEHAVIOUR["relabeling"].values(), *(field["label"] for field in CONN_FIELDS.values())]
    names = [*UI_FIELD_BEHAVIOUR["relabeling"], *(f"extra `{name}`" for name in CONN_FIELDS)]

    assert not [label for label in labels if f"| {label} |" not in text]
    assert not [name for name in names if (name if " " in name else f"`{name}`") not in text]


def test_every_fault_of_the_sandbox_is_documented():
    """By the name that `fault` takes."""
    text = (DOCS / "sandbox.md").read_text()

    assert not [name for name in KINDS if f"`{name}`" not in text]


@pytest.mark.parametrize("dag", sorted((ROOT / "dags").glob("*.py")), ids=lambda path: path.name)
def test_every_example_is_in_a_guide(dag):
    """Included from its file, so that it cannot be another."""
    assert any(f'--8<-- "dags/{dag.name}"' in page.read_text() for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", sorted([*DOCS.rglob("*.md"), *DOCS.rglob("*.svg")]), ids=lambda path: path.name)
def test_files_that_are_named_exist(page):
    """A promise names the test that holds it, and the test is there; so is each module, in a picture too."""
    named = re.findall(
        r"[`>]((?:[\w-]+/)*[\w-]+\.py)[`<]|`((?:tests|scripts|dags|benchmarks)/[\w/.-]+)`", page.read_text()
    )
    places = (ROOT, ROOT / "airflow_provider_binance_margin", *(ROOT / "tests").rglob("."))

    assert not [name for pair in named for name in pair if name and not any((at / name).exists() for at in places)]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_shows_a_claim_exists(page):
    """Each test, benchmark and script that a comment of a page names, with its function; there is one at least."""
    named = [each for block in EVIDENCE.findall(page.read_text()) for each in re.split(r"[,;\s]+", block) if each]
    # no other comment that looks like one, such as a misspelt one
    claimed = re.findall(r"<!--[^>]*\b(?:tests|benchmarks|scripts)/", page.read_text())
    absent = []
    for each in named:
        path, *names = each.split("::")
        text = (ROOT / path).read_text() if (ROOT / path).is_file() else None
        if text is None or not all(re.search(rf"\b(?:def|class) {re.escape(name)}\b", text) for name in names):
            absent.append(each)

    assert not absent
    assert named or page.name == "changelog.md"
    assert len(claimed) == len(EVIDENCE.findall(page.read_text()))
