from receivers.otlp.grpc_waits import Arrivals, Waits


def waiting(n, *, timeout=10.0, most=None):
    cut = []
    waits = Waits(timeout, cut.append, most)
    for one in range(n):
        waits.enter(one, float(one) / 1000)
    return waits, cut


def test_everybody_has_until_the_timeout():
    waits, cut = waiting(4)
    waits.sweep(9.0)
    assert cut == []
    waits.sweep(10.002)
    assert cut == [0, 1, 2]
    assert [waits.leave(one) for one in range(4)] == [False, False, False, True]


def test_too_many_lose_the_oldest():
    waits, cut = waiting(5, most=2)
    waits.sweep(0.05)
    assert cut == []
    waits.sweep(0.5)
    assert cut == [0, 1, 2]
    waits.sweep(0.5)
    assert cut == [0, 1, 2]
    waits.sweep(11.0)
    assert cut == [0, 1, 2, 3, 4]


def test_those_who_were_served_are_left_alone():
    waits, cut = waiting(3, most=1)
    assert all(waits.leave(one) for one in range(3))
    waits.sweep(100.0)
    assert cut == []


def test_closing_cuts_everybody_once():
    waits, cut = waiting(2)
    waits.close()
    waits.close()
    assert cut == [0, 1]
    assert not waits.leave(0)


def arriving(n, *, few):
    cut, memory = [], [100 << 20]
    arrivals = Arrivals(10.0, cut.append, 50, few, lambda: memory[0])
    for one in range(n):
        arrivals.enter(one, float(one) / 1000)
    return arrivals, cut, memory


def test_while_the_memory_grows_few_may_wait():
    arrivals, cut, memory = arriving(20, few=4)
    arrivals.sweep(1.0)
    assert cut == []
    memory[0] += 33 << 20
    arrivals.sweep(1.0)
    assert cut == list(range(16))


def test_while_few_wait_the_memory_is_somebody_elses():
    arrivals, cut, memory = arriving(4, few=4)
    memory[0] += 500 << 20
    arrivals.sweep(1.0)
    for one in range(4, 20):
        arrivals.enter(one, 1.0)
    memory[0] += 31 << 20
    arrivals.sweep(2.0)
    assert cut == []


def test_those_who_just_came_are_not_cut_for_the_memory():
    arrivals, cut, memory = arriving(20, few=4)
    memory[0] += 33 << 20
    arrivals.sweep(0.0555)
    assert cut == list(range(6))
