"""What README and docs/ say about the repository exists: commands, flags, configs and files."""

import re
from functools import cache

import pytest
from documented_commands import ROOT, Block, PageError, blocks, inline_commands, modules, pages
from run_commands import REDUCTIONS, reduced

from biggan_jax.config import FIELDS

COMMANDS = [
    (str(page.relative_to(ROOT)), command)
    for page in pages()
    for command in [
        *inline_commands(page),
        *(command for block in blocks(page) if block.language != "python" for command in block.commands),
    ]
    if modules(command)
]


@cache
def flags_of(module: str) -> set[str]:
    """Returns the flags that a command defines in its own file or takes from the command line's module."""
    files = [ROOT / f"{module.replace('.', '/')}.py", ROOT / "biggan_jax" / "runtime" / "cli.py"]
    text = "".join(file.read_text() for file in files)
    return {"config", *re.findall(r"(?:DEFINE_|command_flags\.)\w+\(\s*\"(\w+)\"", text)}


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_flags_of_documented_commands_exist(page, command):
    parts = re.split(r" -- (?=python )", command)
    for part in parts:
        (module,) = modules(part)
        for flag in re.findall(r"(?<=\s)--(\w[\w.]*)", re.sub(r"'[^']*'|runner=\S+", "", part)):
            if flag.startswith("config."):
                assert flag.removeprefix("config.") in FIELDS, f"{page}: {flag}"
            else:
                assert flag in flags_of(module), f"{page}: {module} has no flag --{flag}"


def test_documented_configs_and_sweeps_exist():
    shipped = {path.stem for path in (ROOT / "configs").rglob("*.py")}
    for page, command in COMMANDS:
        for name in re.findall(r"--(?:config|sweep)=(\w+)(?![\w.])", command):
            assert name in shipped, f"{page}: {command}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_documented_files_exist(page):
    named = re.findall(r"`((?:[\w.]+/)+\w+\.(?:py|yaml|sbatch|sh|md))`", page.read_text())
    for name in named:
        bases = (ROOT, ROOT / "biggan_jax")
        assert any((base / name).is_file() for base in bases) or name.startswith("runs/"), name


def test_documented_fields_exist():
    sections = {name.rpartition(".")[0] for name in FIELDS} - {""}
    for page in pages():
        for name in re.findall(
            rf"`(?:config\.)?((?:{'|'.join(sections)})\.[a-z]\w*)\b[^/`]*`", page.read_text()
        ):
            assert name in FIELDS or name.endswith((".py", ".json", ".html")), f"{page.name}: {name}"


def test_readme_is_at_most_200_lines():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_continued_lines_are_one_command_and_comments_none():
    block = Block("page", 1, "bash", "# first\na --b \\\n    --c\n\nd  # why\n")
    assert block.commands == ["a --b --c", "d  # why"]


def test_reductions_follow_the_command_and_those_of_the_page_come_last():
    block = Block("page", 1, "bash", "", reduce="--num_samples=7")
    command = "python -m launch.local --processes=2 -- python -m biggan_jax.evaluate --workdir=runs/a"
    assert reduced(command, block) == f"{command} {REDUCTIONS['biggan_jax.evaluate']} --num_samples=7"


def test_reductions_name_fields_that_exist():
    for flag in re.findall(r"--config\.([\w.]+)=", " ".join(REDUCTIONS.values())):
        assert flag in FIELDS


@pytest.mark.parametrize("comment", ["skip=", "leave=it", "replace=missing => there", "reduce=--x; and=more"])
def test_comment_that_means_nothing_is_refused(tmp_path, comment):
    page = tmp_path / "page.md"
    page.write_text(f"<!-- docs-test: {comment} -->\n```bash\nls\n```\n")
    with pytest.raises(PageError, match="page.md:2"):
        list(blocks(page))


def test_reason_for_skipping_may_hold_any_text(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- docs-test: skip=needs a; b=c -->\n```bash\nls\n```\n")
    (block,) = blocks(page)
    assert block.skip == "needs a; b=c"


def test_comment_before_no_block_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- docs-test: skip=why -->\nText.\n")
    with pytest.raises(PageError, match="stands before no command"):
        list(blocks(page))
