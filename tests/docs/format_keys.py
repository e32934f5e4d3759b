"""Limits per key, as docs/format.md describes them: a part of format_reader.py.

It decides on rows in its own memory, to compute the vectors. It writes no slots of a file: Python has no 16-byte swap.
"""

import struct

MAX = 2**64 - 1
US = 1_000
SECOND = 10**9
MINUTE = 60 * SECOND
YEAR = 366 * 86_400 * SECOND
SLOTS = 16
ROW = 256
CHUNK = 4096


def add(*terms):
    return min(sum(terms), MAX)


def sub(a, b):
    return max(a - b, 0)


def mul(a, b):
    return min(a * b, MAX)


def ceil_div(a, b):
    return -(-a // b)


# --- The hash ---


def siphash_128(first, second, data, each=1, last=3):
    """SipHash with so many rounds for each block, and so many at the end."""
    v0, v1 = first ^ 0x736F6D6570736575, second ^ 0x646F72616E646F6D ^ 0xEE
    v2, v3 = first ^ 0x6C7967656E657261, second ^ 0x7465646279746573
    turn = lambda x, by: (x << by | x >> (64 - by)) & MAX

    def rounds(n):
        nonlocal v0, v1, v2, v3
        for _ in range(n):
            v0 = v0 + v1 & MAX
            v1 = turn(v1, 13) ^ v0
            v0 = turn(v0, 32)
            v2 = v2 + v3 & MAX
            v3 = turn(v3, 16) ^ v2
            v0 = v0 + v3 & MAX
            v3 = turn(v3, 21) ^ v0
            v2 = v2 + v1 & MAX
            v1 = turn(v1, 17) ^ v2
            v2 = turn(v2, 32)

    whole = len(data) // 8 * 8
    blocks = list(struct.unpack(f"<{whole // 8}Q", data[:whole]))
    blocks.append((len(data) & 0xFF) << 56 | int.from_bytes(data[whole:], "little"))
    for block in blocks:
        v3 ^= block
        rounds(each)
        v0 ^= block
    v2 ^= 0xEE
    rounds(last)
    half = v0 ^ v1 ^ v2 ^ v3
    v1 ^= 0xDD
    rounds(last)
    return half, v0 ^ v1 ^ v2 ^ v3


def hash_of(hash_key, parts):
    """What leads to the row of a key, and its tag in life 0."""
    first, second = hash_key
    if len(parts) == 1:
        row, tag = siphash_128(first, second, parts[0])
    else:
        row, tag = siphash_128(first, second ^ MAX, in_parts(parts))
    return row, tag_of(tag)


def in_parts(parts):
    number = lambda n: n.to_bytes(8, "little")
    return number(len(parts)) + b"".join(number(len(part)) + part for part in parts)


def fingerprint(hash_key, parts):
    first, second = hash_key
    return siphash_128(first ^ MAX, second, in_parts(parts), 2, 4)[0]


def tag_of(word):
    return word & ~0xFF or 256


def row_of(hashed, rows):
    return hashed * rows >> 64


def life(tag):
    return tag & 0xFF


def next_life(tag):
    return tag & ~0xFF | (life(tag) % 255 + 1)


def counted_in(tag):
    """The tag under which a key is counted, from the tag of its own slot."""
    if life(tag) == 0:
        return tag
    x = tag & ~0xFF ^ life(tag)
    x = (x ^ x >> 33) * 0xFF51AFD7ED558CCD & MAX
    x = (x ^ x >> 33) * 0xC4CEB9FE1A85EC53 & MAX
    return tag_of(x ^ x >> 33)


# --- States ---


def ratio(numerator, denominator):
    """Mantissa and shift: the mantissa has 64 bits, and is rounded down."""
    shift = 0
    while (numerator << shift) // denominator < 2**63:
        shift += 1
    return (numerator << shift) // denominator, shift


def call_bits(max, per):
    bits = 0
    while max << bits < per:
        bits += 1
    return bits


class TableClock:
    """The clock of a table of buckets, which counts ticks."""

    def __init__(self, max, per, anchor):
        self.anchor = anchor
        self.speed = ratio(max << anchor["call_bits"], per)
        self.inverse = ratio(per, max << anchor["call_bits"])

    def times(self, by, n):
        mantissa, shift = by
        return min(n * mantissa >> shift, MAX)

    def at(self, ns):
        since = ns - self.anchor["ns"]
        if since >= 0:
            return add(self.anchor["ticks"], self.times(self.speed, since))
        return sub(self.anchor["ticks"], 256 * -since)

    def charged_at(self, ns):
        return add(self.at(ns), 1 if self.speed[1] > 63 else 0)

    def instant(self, tick):
        """The first nanosecond at which this tick has been reached."""
        ahead = tick - self.anchor["ticks"]
        if ahead < 0:
            return sub(self.anchor["ns"], self.times(self.inverse, -ahead))
        mantissa, shift = self.speed
        return add(self.anchor["ns"], ceil_div(ahead << shift, mantissa))

    def moved(self, ns):
        return {**self.anchor, "ns": ns, "ticks": self.at(ns)}


class KeyBucket:
    kind, code = "bucket", 0

    def __init__(self, max, per, burst, anchor, not_before):
        self.max, self.per, self.burst, self.anchor = max, per, burst, anchor
        self.bits, self.clock = anchor["call_bits"], TableClock(max, per, anchor)
        self.interval = 2**self.bits
        self.tolerance = mul(self.interval, burst)
        self.floor = 0
        if not_before:
            self.floor = add(self.clock.charged_at(not_before), sub(self.tolerance, self.interval))
        self.recovery = self.clock.times(self.clock.inverse, self.interval) + 1

    def params(self):
        return [self.burst, self.clock.speed[0], self.clock.inverse[0], self.floor, self.anchor["ns"], self.anchor["ticks"]]

    def shifts(self):
        return self.clock.speed[1] << 32 | self.clock.inverse[1] << 40

    def unused(self, now):
        return self.clock.at(now)

    def is_live(self, state, now):
        return state > self.unused(now)

    def base(self, state, now):
        u = max(state, self.floor)
        return u if u > self.clock.at(sub(now, 1)) else self.clock.charged_at(now)

    def asked(self, state, now, cost, latest):
        """When a request is admitted, and the new state, or None if it is denied until then."""
        taken, u = mul(self.interval, cost), max(state, self.floor)
        needed = sub(add(max(u, self.clock.at(now)), taken), self.tolerance)
        if needed <= self.clock.at(now):
            return now, add(self.base(state, now), taken)
        at = max(self.clock.instant(needed), now)
        return at, add(u, taken) if at <= latest else None

    def debt(self, state, now, amount):
        return add(self.base(state, now), mul(self.interval, amount))

    def inherited(self, least, _states, _now):
        return least

    def usage(self, state, now):
        level = lambda x: min(sub(x, self.clock.at(now)), self.tolerance)
        return ceil_div(level(state), self.interval), (self.tolerance - level(max(state, self.floor))) // self.interval

    def grown_advance(self, greatest, now):
        return add(self.anchor["ticks"], sub(greatest, self.clock.at(now - 4 * US)))

    def last_possible(self, now):
        longest = max(mul(8, self.tolerance), add(self.clock.times(self.clock.speed, 3653 * 86_400 * SECOND), 1))
        last = self.clock.instant(add(max(self.floor, self.clock.at(now)), longest))
        return add(last, YEAR, SECOND)

    def at_rate(self, max, per, burst):
        other = KeyBucket(self.max, self.per, burst, self.anchor, None)
        other.interval = ceil_div(self.clock.times(self.clock.speed, per) + 1, max)
        other.tolerance = mul(other.interval, burst)
        if other.tolerance < self.tolerance // 8 or self.tolerance < other.tolerance // 8:
            return None
        if self.floor:
            other.floor = add(sub(self.floor, sub(self.tolerance, self.interval)), sub(other.tolerance, other.interval))
        return other


class KeyWindows:
    """What fixed windows and sliding counters have in common."""

    counts = 1

    def __init__(self, max, per, anchor, not_before, wall_ns):
        self.max = self.burst = max
        self.per, self.not_before, self.wall_ns = per, not_before or 0, wall_ns
        self.anchor, self.advance = anchor, anchor["ticks"]
        self.bits = (64 - (2**62 // per).bit_length()) // self.counts
        self.full = 2**self.bits - 1
        self.recovery = per

    def params(self):
        return [self.max, self.per, self.wall_ns, self.not_before, 0, self.advance]

    def shifts(self):
        return 0

    def number(self, ns):
        return add(add(ns, self.wall_ns) // self.per, self.advance)

    def start(self, number):
        return sub(mul(sub(number, self.advance), self.per), self.wall_ns)

    def packed(self, number, *counts):
        word = min(number, MAX >> self.bits * self.counts)
        for count in counts:
            word = word << self.bits | min(count, self.full)
        return word

    def last_possible(self, now):
        return max(now, self.not_before) + 2 * self.per + YEAR + SECOND

    def left(self, used, now):
        return 0 if now < self.not_before else sub(self.max, used)

    def grown_advance(self, greatest, now):
        number = greatest >> self.bits * self.counts
        return add(self.advance, sub(number + self.counts, self.number(now - 4 * US)))


class KeyFixed(KeyWindows):
    kind, code = "windows since 1970", 2

    def unused(self, now):
        return self.packed(self.number(now), 0)

    def is_live(self, state, now):
        return state > self.unused(now)

    def parts(self, state, now):
        state = max(state, self.unused(now))
        return state >> self.bits, state & self.full

    def asked(self, state, now, cost, latest):
        number, count = self.parts(state, now)
        number, count = (number, count + cost) if count + cost <= self.max else (number + 1, cost)
        at = max(self.start(number), now, self.not_before)
        is_admitted = at <= latest and self.number(at) <= number
        return at, self.packed(number, count) if is_admitted else None

    def debt(self, state, now, amount):
        number, count = self.parts(state, now)
        windows = (count + amount - 1) // self.max
        return self.packed(number + windows, count + amount - windows * self.max)

    def inherited(self, least, _states, _now):
        return least

    def usage(self, state, now):
        number, count = self.parts(state, now)
        used = self.max if number > self.number(now) else min(count, self.max)
        return used, self.left(used, now)


class KeySliding(KeyWindows):
    kind, code, counts = "sliding counter", 4, 2

    def unused(self, now):
        return self.packed(self.number(now), 0, 0)

    def moved(self, state, number):
        own, count, before = state >> 2 * self.bits, state >> self.bits & self.full, state & self.full
        if number <= own:
            return own, count, before
        return number, 0, count if number == own + 1 else 0

    def is_live(self, state, now):
        number, count, before = self.moved(state, self.number(now))
        return number > self.number(now) or count > 0 or before > 0

    def asked(self, state, now, cost, _latest):
        number, count, before = self.moved(state, self.number(now))
        start = self.start(number)
        wait = lambda p, room: 0 if p <= room else self.per - room * self.per // p
        if count + cost <= self.max:
            own = wait(before, self.max - count - cost)
            at = start + own if own else 0
        else:
            at = start + self.per + wait(count, sub(self.max, cost))
        at = max(at, now, self.not_before, start)
        return at, self.packed(number, count + cost, before) if at <= now else None

    def debt(self, state, now, amount):
        number, count, before = self.moved(state, self.number(now))
        while True:
            here = min(amount, sub(sub(self.max, ceil_div(before, self.per)), count))
            count, amount = count + here, amount - here
            if amount == 0:
                return self.packed(number, count, before)
            number, count, before = number + 1, 0, count

    def inherited(self, least, states, now):
        if not self.is_live(least, now):
            return least
        number, count, _ = self.moved(least, self.number(now))
        moved = [self.moved(state, number) for state in states]
        before = max(max(own, self.max) if later > number else own for later, _, own in moved)
        return self.packed(number, count, before)

    def usage(self, state, now):
        number, count, before = self.moved(state, self.number(now))
        used = self.max
        if self.start(number) <= now:
            used = min(count + ceil_div(before * (self.start(number) + self.per - now), self.per), self.max)
        return used, self.left(used, now)


def key_limit(kind, numbers, anchor, not_before, wall_ns):
    max, per = numbers["max"], numbers["per_ns"]
    if kind == "bucket":
        return KeyBucket(max, per, numbers["burst"], anchor, not_before)
    return {"windows since 1970": KeyFixed, "sliding counter": KeySliding}[kind](max, per, anchor, not_before, wall_ns)


def new_anchor(kind, numbers, now):
    """The clock of a new table."""
    bits = call_bits(numbers["max"], numbers["per_ns"]) if kind == "bucket" else 0
    return {"ns": now if kind == "bucket" else 0, "ticks": 0, "call_bits": bits}


def next_at(limit, state, now):
    return limit.asked(state, now, 1, now)[0]


# --- Rows ---


class Row:
    """The slots of one row, as [state, tag]. No other process changes them."""

    def __init__(self, slots):
        self.slots = [list(slot) for slot in slots]

    def find(self, tag):
        """The index of the slot of a key, or None and the index of the slot with the least state."""
        for i, (_, own) in enumerate(self.slots):
            if own & ~0xFF == tag & ~0xFF:
                return i, None
        return None, min(range(SLOTS), key=lambda i: self.slots[i][0])

    def states(self):
        return [state for state, _ in self.slots]

    def known(self, limit, tag, now):
        """Whether a key is in a slot, and its state."""
        found, at, counted, _ = self.place(limit, tag, now)
        state, own_tag = self.slots[at]
        if found is not None:
            return True, state
        return own_tag & ~0xFF == counted & ~0xFF, limit.inherited(state, self.states(), now)

    def place(self, limit, tag, now):
        """Where a key is counted: its slot (None: it has none), the slot to be written, the tag, and its own slot if that is
        another one."""
        own, least = self.find(tag)
        if own is None or life(self.slots[own][1]) == 0:
            return own, least if own is None else own, tag, None
        own_state, own_tag = self.slots[own]
        current = counted_in(own_tag)
        found, least = self.find(current)
        if not limit.is_live(own_state, now) or (found is None and least == own):
            return None, own, tag, None
        return found, least if found is None else found, current, own

    def ask(self, limit, tag, now, cost, latest, may_forget, writes=True):
        found, at, counted, own = self.place(limit, tag, now)
        state, has_forgotten = self.slots[at][0], False
        if found is None:
            has_forgotten = limit.is_live(state, now)
            is_own = self.slots[at][1] & ~0xFF == counted & ~0xFF
            if has_forgotten and not may_forget and not is_own:
                return {"outcome": "full"}
            state = limit.inherited(state, self.states(), now)
        instant, new = limit.asked(state, now, cost, latest)
        if new is None or new <= self.slots[at][0]:
            return {"outcome": "too early", "at_ns": instant if new is None else MAX, "is_inherited": has_forgotten}
        if writes:
            self.write(at, new, counted, own)
        return {"outcome": "admitted", "at_ns": instant, "has_forgotten": has_forgotten}

    def write(self, at, new, tag, own):
        if own is not None:
            self.slots[own][0] = max(self.slots[own][0], new)
        self.slots[at] = [new, tag]

    def charge(self, limit, tag, now, amount):
        found, at, counted, own = self.place(limit, tag, now)
        state = self.slots[at][0]
        if found is None:
            state = limit.inherited(state, self.states(), now)
        new = limit.debt(state, now, amount)
        if own is not None:
            self.slots[own][0] = max(self.slots[own][0], new)
        if new > self.slots[at][0]:
            self.slots[at] = [new, counted]

    def reset(self, limit, tag, now):
        own, _ = self.find(tag)
        if own is None:
            return False
        state, own_tag = self.slots[own]
        if limit.is_live(state, now):
            self.slots[own][1] = next_life(own_tag)
        return True


def ask_all(limits, rows, tag, now, costs):
    """A request of a key with several limits, whose key has these rows."""
    order = [i for i in sorted(range(len(limits)), key=lambda i: limits[i].recovery) if costs[i]]
    denied = []
    for i in order:
        seen = rows[i].ask(limits[i], tag, now, costs[i], now, True, writes=False)
        if seen["outcome"] != "admitted":
            denied.append({**seen, "by": i})
    full = [seen for seen in denied if seen["outcome"] == "full"]
    if full:
        return full[0]
    if denied:
        return max(denied, key=lambda seen: seen["at_ns"])
    all_seen = [rows[i].ask(limits[i], tag, now, costs[i], now, True) for i in order]
    return {
        "outcome": "admitted", "at_ns": max([now, *[seen["at_ns"] for seen in all_seen]]),
        "has_forgotten": any(seen["has_forgotten"] for seen in all_seen),
    }


# --- What is counted ---


def count_event(words, now):
    total, *seconds = words
    second = now // SECOND
    i = second % 64
    same = seconds[i] >> 32 == second % 2**32
    seconds[i] = seconds[i] + 1 if same else second % 2**32 << 32 | 1
    return [total + 1, *seconds]


def events(words, now):
    """In all, and in the last minute."""
    second = now // SECOND % 2**32
    recent = [word & 0xFFFFFFFF for word in words[1:] if 0 <= second - (word >> 32) <= 59]
    return words[0], sum(recent)


def minute_of(now):
    return now // MINUTE % 2**32


def count_within(word, minute):
    return word & 0xFFFFFFFF if minute - (word >> 32) in (0, 1) else 0


def name_words(parts):
    name = b"\x1f".join(parts)[:48]
    return len(name), list(struct.unpack("<6Q", name.ljust(48, b"\0")))


def count_denial(places, tag, parts, times, now, checksum):
    """Counts a denial in the group of places of a key."""
    minute = minute_of(now)
    for place in places:
        if place[0] != tag:
            continue
        if place[1] >> 32 != minute:
            place[1], place[2] = minute << 32 | times, place[1]
        elif place[1] & 0xFFFFFFFF < 4294901760:
            place[1] += times
        return
    weight = lambda place: count_within(place[1], minute) + count_within(place[2], minute)
    place = min(places, key=weight)
    if weight(place) > 0:
        i = 1 if count_within(place[1], minute) else 2
        place[i] -= min(place[i] & 0xFFFFFFFF, times)
        return
    length, name = name_words(parts)
    place[:] = [tag, minute << 32 | times, 0, length, checksum([tag, length, *name]), *name]


def most_denied(places, now, checksum):
    minute, left, keys = minute_of(now), MINUTE - now % MINUTE, []
    for tag, recent, before, length, check, *name in places:
        if tag < 2 or length > 48 or check != checksum([tag, length, *name]):
            continue
        part = lambda word: (word & 0xFFFFFFFF) * left // MINUTE
        ago = minute - (recent >> 32)
        count = {0: recent & 0xFFFFFFFF, 1: part(recent)}.get(ago, 0)
        if ago == 0 and (before >> 32) + 1 == minute:
            count += part(before)
        if count:
            keys.append({"last_minute": count, "name": struct.pack("<6Q", *name)[:length].decode(errors="replace")})
    return sorted(keys, key=lambda key: (-key["last_minute"], key["name"]))


# --- Vectors ---


def check_examples(expect):
    """The examples on the page."""
    numbers = lambda max, per, burst=0: {"max": max, "per_ns": per, "burst": burst}
    new = lambda kind, numbers: key_limit(kind, numbers, new_anchor(kind, numbers, 900 * SECOND), None, 0)
    bucket = new("bucket", numbers(5, SECOND, 10))
    fixed = new("windows since 1970", numbers(100, MINUTE))
    sliding = new("sliding counter", numbers(10, MINUTE))
    now = 1000 * SECOND
    expect(bucket.clock.speed, (12379400392853802748, 63), "the speed of a clock")
    expect([bucket.interval, bucket.tolerance, bucket.unused(now)], [268435456, 2684354560, 134217727999], "a bucket")
    expect(bucket.asked(134217727999, now, 3, now), (now, 135023034367), "its first request")
    expect(bucket.asked(135023034367, now, 8, now), (1000 * SECOND + SECOND // 5, None), "its second one")
    expect((fixed.bits, fixed.unused(now)), (37, 2199023255552), "fixed windows")
    expect(fixed.asked(2199023255552, now, 3, now), (now, 2199023255555), "their first request")
    late = 1020 * SECOND
    expect(fixed.asked(2199023255552 + 98, now, 3, now), (late, None), "a full one")
    expect(fixed.asked(2199023255552 + 98, now, 3, late), (late, 17 * 2**37 + 3), "a turn")
    expect(sliding.bits, 18, "a sliding counter")
    expect(sliding.asked(1099512676358, now, 2, now), (now, 1099513200646), "its request")
    state = 15 * 2**36 + 9 * 2**18 + 5
    expect(sliding.asked(state, now, 2, now), (now, 16 * 2**36 + 2 * 2**18 + 9), "one in the next window")


def limit_in(v):
    return key_limit(v["kind"], v["numbers"], v["anchor"], v["not_before_ns"], v["wall_ns"])


def check_key_hashes(v, expect):
    parts = [bytes.fromhex(part) for part in v["parts_hex"]]
    row, tag = hash_of(v["hash_key"], parts)
    expect(fingerprint(v["hash_key"], parts), v["fingerprint"], "the fingerprint")
    expect([[rows, row_of(row, rows)] for rows, _ in v["row_of_rows"]], v["row_of_rows"], "the rows")
    for expected in v["lives"]:
        own = tag
        for _ in range(expected["resets"]):
            own = next_life(own)
        expect((own, counted_in(own)), (expected["own_tag"], expected["counted_in"]), f"tags after {expected['resets']} resets")


def check_key_clocks(v, expect):
    clock = limit_in(v).clock
    found = [*clock.speed, *clock.inverse]
    expect(found, [v[name] for name in ("speed", "speed_shift", "inverse", "inverse_shift")], "speed and inverse")
    expect([[ns, clock.at(ns)] for ns, _ in v["ticks_at"]], v["ticks_at"], "ticks")
    expect([[tick, clock.instant(tick)] for tick, _ in v["reached_at"]], v["reached_at"], "instants")
    expect(clock.moved(v["changed_at_ns"]), v["anchor_after"], "the anchor after a change")


def check_key_charges(v, expect):
    limit, state, now = limit_in(v), v["state"], v["now_ns"]
    expect(limit.unused(now), v["unused"], "the state of an unused key")
    expect(limit.is_live(state, now), v["is_live"], "whether it is live")
    at, new = limit.asked(state, now, v["cost"], v["latest_ns"])
    expect((at, None) if new is None else (at, new), (v.get("ready_ns", v.get("admitted_at_ns")), v.get("state_after")), "the request")
    expect(limit.usage(state, now), (v["used"], v["left"]), "used and left")
    expect(next_at(limit, state, now), v["next_at_ns"], "the next one")
    expect(v["next_at_ns"] <= limit.last_possible(now), v["is_possible"], "whether it is no damage")


def check_key_debts(v, expect):
    limit = limit_in(v)
    after = limit.debt(v["state"], v["now_ns"], v["amount"])
    expect(after, v["state_after"], "the debt")
    expect(next_at(limit, after, v["now_ns"]), v["next_at_ns"], "the next one")


def check_key_inheritances(v, expect):
    found = limit_in(v).inherited(min(v["states"]), v["states"], v["now_ns"])
    expect(found, v["inherited"], "what a new key starts from")


def check_key_clock_advances(v, expect):
    expect(limit_in(v).grown_advance(v["greatest"], v["now_ns"]), v["ticks_after"], "the clock after a reset")


def check_key_rates(v, expect):
    brought = v["brought"]
    limit = limit_in(v).at_rate(brought["max"], brought["per_ns"], brought["burst"])
    expect(limit is not None, v["is_possible"], "whether a request may bring this rate")
    if limit:
        found = limit.asked(v["state"], v["now_ns"], 1, MAX)
        expect(found, (v["admitted_at_ns"], v["state_after"]), "the request")


# Under which the vectors place their keys.
HASH_KEY = [0x0706050403020100, 0x0F0E0D0C0B0A0908]


def check_key_rows(v, expect):
    limit, now, row = limit_in(v), v["now_ns"], Row(v["slots"])
    _, tag = hash_of(HASH_KEY, [v["key"].encode()])
    expect(row.known(limit, tag, now), (v["is_known"], v["known_state"]), "what is known of the key")
    if "request" in v:
        wanted = dict(v["request"])
        cost, latest, may_forget = (wanted.pop(name) for name in ("cost", "latest_ns", "may_forget"))
        wanted.pop("by", None)
        expect(row.ask(limit, tag, now, cost, latest, may_forget), wanted, "the request")
    elif "debt" in v:
        row.charge(limit, tag, now, v["debt"]["amount"])
    else:
        expect(row.reset(limit, tag, now), v["reset"]["was_known"], "the reset")
    pairs = enumerate(zip(row.slots, v["slots"]))
    changed = [{"slot": i, "state": after[0], "tag": after[1]} for i, (after, before) in pairs if after != before]
    expect(changed, v["changed_slots"], "the changed slots")


def check_key_requests(v, expect):
    limits, now = [limit_in(limit) for limit in v["limits"]], v["now_ns"]
    rows = [Row(v["slots"][str(i)]) for i in range(len(limits))]
    _, tag = hash_of(HASH_KEY, [v["key"].encode()])
    expect(ask_all(limits, rows, tag, now, v["costs"]), v["request"], "the request")
    expect([row.slots for row in rows], [v["slots_after"][str(i)] for i in range(len(limits))], "the slots after it")


def check_key_events(v, expect):
    expect(count_event(v["words"], v["now_ns"]), v["words_after"], "the words after an event")
    expect(events(v["words_after"], v["now_ns"]), (v["total"], v["last_minute"]), "events")


def check_denied_keys(v, expect, checksum):
    parts = [part.encode() for part in v["parts"]]
    _, tag = hash_of(HASH_KEY, parts)
    expect((tag, 8 * (tag // 256 % 8)), (v["tag"], v["group"]), "tag and group")
    places = [v["words"][i : i + 11] for i in range(0, 88, 11)]
    count_denial(places, tag, parts, v["times"], v["now_ns"], checksum)
    expect(sum(places, []), v["words_after"], "the words after a denial")


def check_most_denied(v, expect, checksum):
    found = most_denied([place["words"] for place in v["places"]], v["now_ns"], checksum)
    expect(found, v["keys"], "the keys denied most")
