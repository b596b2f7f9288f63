from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from collector.telemetry.ledger import Account, Ledger

items = st.integers(0, 1000)
reasons = st.sampled_from(["a", "b", "c"])


class Books(RuleBasedStateMachine):
    """An account is driven as the graph does it: nothing leaves that didn't enter."""

    def __init__(self):
        super().__init__()
        self.account = Account("traces")
        self.inside = 0

    @rule(n=items)
    def accept(self, n):
        self.account.accept(n)
        self.inside += n

    @precondition(lambda self: self.inside)
    @rule(data=st.data(), end=st.sampled_from(["deliver", "filter", "dead_letter", "give_back"]), reason=reasons)
    def settle(self, data, end, reason):
        n = data.draw(st.integers(0, self.inside))
        if end == "deliver":
            self.account.deliver(n)
        else:
            getattr(self.account, end)(n, reason)
        self.inside -= n

    @invariant()
    def the_books_balance(self):
        account = self.account
        assert account.imbalance() == 0
        assert account.held == self.inside
        settled = [account.filtered, account.dead_lettered, account.returned]
        assert account.accepted == account.delivered + sum(one.total() for one in settled) + account.held


TestBooks = Books.TestCase


def test_reasons_are_kept_apart():
    account = Account("traces")
    account.accept(10)
    account.filter(1, "a")
    account.filter(2, "b")
    account.filter(3, "a")
    account.dead_letter(1, "a")
    account.give_back(2, "c")
    account.deliver(1)
    assert (dict(account.filtered), dict(account.dead_lettered), dict(account.returned)) == (
        {"a": 4, "b": 2},
        {"a": 1},
        {"c": 2},
    )
    assert (account.accepted, account.delivered, account.held) == (10, 1, 0)


def test_a_mistake_shows():
    """`held` is not computed from the others, so that what forgets to book is seen."""
    account = Account("traces")
    account.accept(10)
    account.held -= 3
    assert account.imbalance() == 3
    account.delivered += 5
    assert account.imbalance() == -2


def test_a_ledger_opens_an_account_once():
    ledger = Ledger()
    first = ledger.account("traces")
    assert ledger.account("traces") is first
    assert first.pipeline == "traces"
    assert ledger.account("logs") is not first
    assert list(ledger.accounts) == ["traces", "logs"]
