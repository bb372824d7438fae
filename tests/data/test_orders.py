"""The numbers of epochs."""

from keras_ext.data._orders import Orders


def numbers(orders, epochs):
    """What the orders are in these epochs; None is a reading that is none of `fit`."""
    found = []
    for epoch in epochs:
        orders.begin(epoch)
        found.append(orders.present)
    return found


def test_every_epoch_has_its_own():
    orders = Orders()
    # Two trainings, and one that goes on with the second.
    found = numbers(orders, [0, 1, 2, 0, 1, 2, 3])
    assert len(set(found)) == 7
    assert 0 not in found


def test_a_training_that_goes_on_has_those_it_would_have_had():
    whole = numbers(Orders(), range(6))
    assert numbers(Orders(), [3, 4, 5]) == whole[3:]
    # In the same process, after an epoch that failed.
    assert numbers(Orders(), [0, 1, 2, 2, 3]) == [*whole[:3], *whole[2:4]]


def test_what_else_is_read_changes_nothing():
    mixed = numbers(Orders(), [None, 0, None, None, 1, None, 0, None])
    alone = numbers(Orders(), [0, 1, 0])
    assert [mixed[i] for i in (1, 4, 6)] == alone
    others = {mixed[i] for i in (0, 2, 3, 5, 7)}
    assert len(others) == 5
    assert not others & set(alone)
