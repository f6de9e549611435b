"""Local directories for inputs that are files."""

from dagster_versioned.checkouts import Checkouts


def test_each_input_has_a_directory_of_its_own_and_none_is_made_before_it_is_used():
    checkouts = Checkouts()
    first, second = (checkouts.new_directory(kept=False) for _ in range(2))
    assert first != second
    assert not first.exists()
    checkouts.remove()


def test_removing_takes_what_belongs_to_a_run_and_leaves_what_outlives_it():
    checkouts = Checkouts()
    of_run, kept = (checkouts.new_directory(kept=kept) for kept in (False, True))
    for directory in (of_run, kept):
        directory.mkdir(parents=True)
    checkouts.remove()
    assert not of_run.exists()
    assert kept.exists()
    again = checkouts.new_directory(kept=False)
    assert again.parent != of_run.parent
