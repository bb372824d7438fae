"""The file of a population, and the files of its members."""

import os

from keras_ext.controllers import PopulationBased
from keras_ext.tuner._population_state import Member, PopulationState, lineage_in


def begun(folder):
    population = PopulationBased([{"a": 1.0}, {"a": 2.0}], seed=0)
    return PopulationState(str(folder), population)


def test_what_was_written_is_read_and_decides_alike(tmp_path):
    state = begun(tmp_path)
    for i in range(2):
        path = state.file_of(str(i), 0)
        open(path, "w").close()
        state.members.append(Member(str(i), path, score=float(i)))
    state.save()
    again = begun(tmp_path)
    again.load()
    assert PopulationState.exists(str(tmp_path))
    for _ in range(3):
        state.compete()
        again.compete()
    assert again.lineage == state.lineage
    assert again.population.settings == state.population.settings
    assert [row["source"] for row in state.lineage] == ["0"] * 6
    state.save()
    assert lineage_in(str(tmp_path)) == state.lineage
    # The second goes on with the weights of the first; nobody needs its own.
    assert os.path.exists(state.file_of("0", 0))
    assert not os.path.exists(state.file_of("1", 0))


def test_a_folder_that_has_moved_keeps_the_weights_that_are_needed(tmp_path):
    state = begun(tmp_path / "before")
    for i in range(2):
        path = state.file_of(str(i), 0)
        open(path, "w").close()
        state.members.append(Member(str(i), path, score=float(i)))
    state.compete()  # both go on with the weights of the first
    state.save()
    os.rename(tmp_path / "before", tmp_path / "after")
    again = begun(tmp_path / "after")
    again.load()
    again.save()
    assert [os.path.exists(member.weights) for member in again.members] == [True, True]
    assert {member.weights for member in again.members} == {again.file_of("0", 0)}


def test_only_what_was_moved_is_put_in_its_place(tmp_path):
    state = begun(tmp_path)
    state.members = [Member("0", "x", score=1.0), Member("1", "y", score=5.0)]
    seen = []
    state.compete(lambda *given: seen.append(given) or {"a": 7.0})
    ((before, moved),) = seen
    assert before == {"a": 1.0}
    assert moved["a"] in (0.8, 1.2)
    assert state.population.settings == [{"a": 1.0}, {"a": 7.0}]
    assert [row["settings"]["a"] for row in state.lineage] == [1.0, 7.0]


def test_a_member_without_a_finite_score_is_the_worst(tmp_path):
    state = begun(tmp_path)
    state.members = [Member("0", "x"), Member("1", "y", score=5.0)]
    state.compete()
    assert [member.weights for member in state.members] == ["y", "y"]
    assert lineage_in(str(tmp_path)) == []
