"""What waits for a tunnel: how much, in which order, and for how long."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ofgtp.core.buffer.queue import LIMIT, HeldPacket, Queue
from ofgtp.core.buffer.room import PACKETS, PART, Room


def held(number: int, at: float = 0.0, seconds: float = 30.0, octets: int = 100) -> HeldPacket:
    return HeldPacket(at, at + seconds, None, number.to_bytes(4, "big") + bytes(octets - 4))


def numbers(queue: Queue) -> list[int]:
    """What waits, which waits no more."""
    taken = []
    while (each := queue.take()) is not None:
        taken.append(int.from_bytes(each.frame[:4], "big"))
    return taken


def test_as_many_as_may_in_order() -> None:
    queue = Queue(Room())
    assert [queue.put(3, held(number)) for number in range(5)] == [True] * 3 + [False] * 2
    assert (len(queue), queue.octets) == (3, 300)
    assert numbers(queue) == [0, 1, 2]


def test_one_ue_has_all_that_it_may_while_there_is_room() -> None:
    queue = Queue(Room())
    assert all(queue.put(LIMIT, held(number, octets=1500)) for number in range(LIMIT))


def test_many_that_are_flooded_leave_room_for_another() -> None:
    room = Room()
    flooded = [Queue(room) for _ in range(1000)]
    for _ in range(LIMIT):
        for queue in flooded:
            queue.put(LIMIT, held(0))
    assert room.packets < PACKETS
    shares = [len(queue) for queue in flooded]
    assert max(shares) - min(shares) <= 1
    other = Queue(room)
    assert [other.put(LIMIT, held(number)) for number in range(10)] == [True] * 10


def test_octets_are_bounded_as_well() -> None:
    room = Room(octets_max=64_000)
    queue = Queue(room)
    while queue.put(LIMIT, held(0, octets=1500)):
        pass
    assert queue.octets <= 64_000 // PART + 1500
    assert not Queue(Room(octets_max=1000)).put(LIMIT, held(0, octets=1500))


def test_what_has_waited_too_long() -> None:
    room = Room()
    queue = Queue(room)
    for number in range(4):
        queue.put(LIMIT, held(number, at=float(number), seconds=10))
    assert queue.due == 10
    assert (queue.late(9.9), queue.late(11.5), queue.due) == (0, 2, 12)
    queue.extend(2)
    assert queue.late(4.5) == 1
    assert numbers(queue) == [3]
    assert (room.packets, room.octets, queue.due) == (0, 0, None)


@given(st.lists(st.sampled_from(["put", "take", "late", "clear", "back"]), max_size=40))
def test_the_room_knows_what_is_there(steps: list[str]) -> None:
    room = Room()
    queues = Queue(room), Queue(room)
    for place, step in enumerate(steps):
        queue = queues[place % 2]
        match step:
            case "put":
                queue.put(8, held(place, at=place, seconds=5))
            case "take":
                queue.take()
            case "late":
                queue.late(place)
            case "clear":
                assert queue.clear() >= 0 and len(queue) == 0
            case "back":
                if (each := queue.take()) is not None:
                    queue.put_back([each])
        assert room.packets == sum(map(len, queues))
        assert room.octets == sum(queue.octets for queue in queues)
