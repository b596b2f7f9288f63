import time

from receivers.otlp.grpc_readers import Readers


class Call:
    def __init__(self):
        self.cancelled = 0

    def cancel(self):
        self.cancelled += 1


def entered(readers, n):
    calls = [Call() for _ in range(n)]
    return calls, [readers.enter(call) for call in calls]


def cut(calls):
    return [call.cancelled for call in calls]


def test_few_slow_ones_have_until_the_timeout():
    readers = Readers(most=4, timeout=10)
    calls, numbers = entered(readers, 4)
    readers.sweep(time.monotonic() + 9)
    assert cut(calls) == [0, 0, 0, 0]
    readers.sweep(time.monotonic() + 11)
    assert cut(calls) == [1, 1, 1, 1]
    assert [readers.leave(number) for number in numbers] == [True] * 4


def test_too_many_slow_ones_lose_the_oldest():
    readers = Readers(most=2, timeout=10)
    calls, numbers = entered(readers, 5)
    readers.sweep(time.monotonic())
    assert cut(calls) == [0] * 5
    readers.sweep(time.monotonic() + 0.5)
    assert cut(calls) == [1, 1, 1, 0, 0]
    assert [readers.leave(number) for number in numbers] == [True, True, True, False, False]
    readers.sweep(time.monotonic() + 0.5)
    assert cut(calls) == [1, 1, 1, 0, 0]


def test_those_who_were_served_are_left_alone():
    readers = Readers(most=1, timeout=10)
    calls, numbers = entered(readers, 3)
    assert [readers.leave(number) for number in numbers] == [False] * 3
    readers.sweep(time.monotonic() + 100)
    assert cut(calls) == [0, 0, 0]


def test_closing_cuts_everybody():
    readers = Readers(most=8, timeout=10)
    calls, numbers = entered(readers, 2)
    readers.close()
    assert cut(calls) == [1, 1]
    assert readers.leave(numbers[0])
