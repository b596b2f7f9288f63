from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collector.ack import Outcome
from collector.telemetry.item_outcomes import ItemOutcomes
from collector.telemetry.ledger import Account

ITEMS = 12
ends = st.tuples(st.sampled_from(Outcome), st.sampled_from(["a", "b"]))
rows = st.none() | st.lists(st.booleans(), min_size=ITEMS, max_size=ITEMS).map(np.array)


@given(st.lists(st.tuples(rows, ends), max_size=6))
def test_an_item_counts_once_with_its_worst_outcome_and_that_ones_first_reason(notes):
    outcomes = ItemOutcomes(ITEMS)
    model = [(Outcome.DELIVERED, "")] * ITEMS
    for mask, (outcome, reason) in notes:
        outcomes.note(mask, outcome, reason)
        for item in range(ITEMS):
            if (mask is None or mask[item]) and outcome > model[item][0]:
                model[item] = (outcome, reason)
    assert outcomes.totals() == Counter(model)
    assert outcomes.noted == bool(notes)
    refused = sum(outcome is Outcome.REJECTED for outcome, _ in model)
    assert outcomes.refused == (refused if notes else None)


@given(rows, st.lists(st.integers(0, 20), max_size=4))
def test_items_that_nobody_knows_are_taken_from_the_delivered_ones(mask, figures):
    outcomes = ItemOutcomes(ITEMS)
    outcomes.note(mask, Outcome.REJECTED, "known")
    known = ITEMS if mask is None else int(mask.sum())
    for number, items in enumerate(figures):
        outcomes.note_some(items, Outcome.REJECTED, str(number))
    totals = outcomes.totals()
    assert totals.total() == ITEMS
    assert totals[Outcome.DELIVERED, ""] == max(0, ITEMS - known - sum(figures))
    assert totals[Outcome.REJECTED, "known"] == known


@given(st.lists(st.tuples(rows, ends), max_size=4), st.sampled_from(Outcome), st.booleans())
def test_the_books_balance_whatever_is_noted(notes, outcome, owned):
    outcomes, account = ItemOutcomes(ITEMS), Account("traces")
    account.accept(ITEMS)
    for mask, end in notes:
        outcomes.note(mask, *end)
    account.settle_each(outcomes, outcome, "whole", owned=owned)
    assert (account.held, account.imbalance()) == (0, 0)
    if outcome is Outcome.RETRY and owned:
        assert account.returned == {"whole": ITEMS}
    else:
        assert account.returned.total() == 0
