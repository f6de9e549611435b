"""The prose checker sees each rule broken, reads every kind of text, and lets no file get worse."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"

# The wordings of each rule beside the example that the rule itself carries.
MORE = {
    "actor": ["Who reads a store needs no catalog.", "It waits for whoever came first.", "It locks; who lost waits."],
    "is-no": ["There a commit is no branch.", "These are no paths."],
    "what-clause": [
        "What is stored is read back.",
        "It reads, and what is damaged is named.",
        "A list of what is due.",
    ],
    "field-verb": [
        "It takes packs away.",
        "A run lets go of its lease.",
        "The file is staged to go.",
        "It commits its end.",
        "It puts the index right.",
        "It makes the catalog again.",
        "It takes the commit back.",
        "The rest is thrown away.",
        "An old catalog is brought up.",
        "It looks through all packs.",
        "It gives back the tree.",
    ],
    "inversion": [
        "It costs a page, and with it a pack.",
        "Only then is the head moved.",
        "Gone is what no head leads to.",
        "Of a branch the name stays.",
        "To it come the pages.",
        "Why is it that a page moves?",
    ],
    "riddle": [
        "It keeps what no name leads to.",
        "The pack says that it is there.",
        "It lists packs that nobody knows.",
        "It tells of lost packs.",
        "It fails without a word.",
        "A run that comes out the same commits nothing.",
        "A bracket stands for itself.",
        "It holds all writers up.",
        "The run goes on.",
        "Pages are equal wherever they lie.",
        "The chunk is whole elsewhere.",
    ],
    "quantity": [
        "It is kept for ever.",
        "It has ten by now.",
        "It reads so many bytes.",
        "It is deleted for good.",
        "It seldom waits.",
        "It is stored anew.",
    ],
    "claim": ["It will support Windows.", "It simply works.", "It is robust.", "Of course it works."],
    "summary-verb": ["Tell the caller.", "Give the head.", "Put right the index."],
    "length": ["A " + "word " * 25 + "."],
}


@pytest.fixture(scope="module")
def checker():
    sys.path.insert(0, str(SCRIPTS))
    try:
        import check_prose

        yield check_prose
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture
def tree(tmp_path, checker):
    """A project of one's own: its files are written, then checked."""

    class Tree:
        def write(self, name, text):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

        def check(self, *arguments):
            return checker.main(list(arguments), root=tmp_path)

    return Tree()


def rules_found(checker, text, suffix=".md"):
    read = checker.markdown_sentences if suffix == ".md" else checker.python_sentences
    return {rule.id for sentence in read(text) for rule in checker.RULES for _ in rule.matches(sentence)}


def test_each_rule_finds_its_wrong_example_and_not_its_right_one(checker):
    for rule in checker.RULES:
        wrong, right = (f'def f():\n    """{text}"""\n' for text in (rule.wrong, rule.right))
        assert rule.id in rules_found(checker, wrong, ".py"), rule.id
        assert not rules_found(checker, right, ".py"), rule.id
        if "markdown" in rule.kinds:
            assert rule.id in rules_found(checker, rule.wrong), rule.id
    assert len(checker.RULES) == 10


def test_each_rule_finds_each_wording(checker):
    assert set(MORE) == {rule.id for rule in checker.RULES}
    for rule, texts in MORE.items():
        for text in texts:
            assert rule in rules_found(checker, f'def f():\n    """{text}"""\n', ".py"), (rule, text)


@pytest.mark.parametrize(
    "text",
    [
        "A branch is no longer needed.",
        "There is no such branch.",
        "Who may read it?",
        "It raises an error that says who won.",
        "It shows what changed.",
        "A reader who holds it waits.",
        "# What a write does",
        "| what it does | why |\n|---|---|\n| reads | to know |",
        "```\nWhat is code is not prose for ever.\n```",
        "`is no` and [is](is-no-more.md) code.",
        "<!-- for ever -->",
    ],
)
def test_good_english_headings_and_code_are_left_alone(checker, text):
    assert not rules_found(checker, text)


@pytest.mark.parametrize(
    "text",
    [
        '"""It is kept for ever."""',
        'class A:\n    """It is kept for ever."""',
        "x = 1  # it is kept for ever",
        "# it is kept\n# for ever",
        'raise ValueError("it is kept for ever")',
        'raise ValueError(f"{x!r} is kept " f"for ever: {y}")',
        'def f(*, help="It is kept for ever."): ...',
        'def f():\n    """Return it.\n\n    Args:\n        name: Kept for ever.\n    """',
        'SIZE = 1\n"""It is kept for ever."""',
    ],
)
def test_docstrings_comments_and_messages_are_read(checker, text):
    assert rules_found(checker, text, ".py") == {"quantity"}


@pytest.mark.parametrize(
    "text",
    [
        'key = "for ever"',
        "kept_for_ever = x['# for ever']",
        '"""Return it.\n\n>>> what("is no name for ever")\n"for ever"\n"""',
    ],
)
def test_names_keys_and_examples_are_not_prose(checker, text):
    assert not rules_found(checker, text, ".py")


def test_a_finding_names_its_line_and_the_better_wording(tree, capsys):
    tree.write("docs/page.md", "A page.\n\nIt has\ntwo lines and is kept\nfor ever.\n")
    assert tree.check() == 1
    out = capsys.readouterr().out
    assert "docs/page.md:3: quantity: for ever" in out
    assert "permanently" in out


def test_a_budget_allows_old_findings_and_fails_on_one_more(tree, capsys):
    tree.write("docs/page.md", "It is kept for ever.\n")
    tree.write("scripts/prose_budget.toml", '"docs/page.md" = { quantity = 1 }\n')
    assert tree.check() == 0
    assert tree.check("--all") == 1
    tree.write("docs/page.md", "It is kept for ever. It is deleted for good.\n")
    assert tree.check() == 1
    assert "for good" in capsys.readouterr().out
    tree.write("docs/page.md", "It is no page.\n")
    assert tree.check() == 1


def test_lowering_writes_the_present_counts_and_never_raises_one(tree, capsys):
    tree.write("docs/page.md", "It is kept for ever.\n")
    tree.write("scripts/prose_budget.toml", '"docs/page.md" = { quantity = 5, is-no = 1 }\n"gone.md" = { claim = 2 }\n')
    assert tree.check("--lower") == 0
    tree.write("docs/page.md", "It is kept for ever. It is deleted for good.\n")
    assert tree.check("--lower") == 1
    assert "quantity: 2 findings, 1 allowed" in capsys.readouterr().out
    tree.write("docs/page.md", "It is kept.\n")
    assert tree.check("--lower") == 0
    tree.write("docs/page.md", "It is kept for ever.\n")
    assert tree.check() == 1


def test_a_file_that_moves_takes_its_budget_along_by_lowering(tree):
    tree.write("docs/new.md", "It is kept for ever.\n")
    tree.write("scripts/prose_budget.toml", '"docs/old.md" = { quantity = 1 }\n')
    assert tree.check() == 1
    assert tree.check("--lower") == 0
    assert tree.check() == 0


def test_an_exception_covers_its_words_in_its_file_only_and_needs_a_reason(tree):
    exception = '[[exception]]\npath = "docs/a.md"\nrule = "quantity"\nwords = "for ever"\nreason = "A quotation."\n'
    tree.write("scripts/prose_exceptions.toml", exception)
    tree.write("docs/a.md", "It is kept for ever.\n")
    assert tree.check() == 0
    tree.write("docs/a.md", "It is deleted for good.\n")
    assert tree.check() == 1
    tree.write("docs/a.md", "It is kept.\n")
    tree.write("docs/b.md", "It is kept for ever.\n")
    assert tree.check() == 1
    tree.write("scripts/prose_exceptions.toml", exception.partition("reason")[0])
    with pytest.raises(ValueError, match="no reason"):
        tree.check()
