#!/usr/bin/env python3
"""An implementation of docs/format.md, written from that page alone, to show that the page suffices.

    format_reader.py vectors VECTORS               computes every vector of docs/format-vectors.json itself
    format_reader.py file VECTORS PATH AGE_NS      reads a limiter's file, as it was AGE_NS after its creation, as JSON
    format_reader.py keys VECTORS PATH QUERIES     what is known of keys, [{"parts": [...], "age_ns": N}, ...], in the file of
                                                   a limiter with limits per key
    format_reader.py create VECTORS PATH POLICY    creates a limiter: {"limits": [...], "permits": N, "seats": N}, and
                                                   perhaps {"keys": {"limits": [...], "refuses_new": false,
                                                   "hides_names": false, "capacity": N}}

It takes the offsets of words from the vectors and everything else from the page. It decides nothing: Python has no atomics.
Limits per key are in format_keys.py.
"""

import fcntl
import json
import mmap
import os
import struct
import sys
import time
import unicodedata

sys.dont_write_bytecode = True
import format_keys

MAX = 2**64 - 1
TAT_END = 2**62
US = 1_000
DAY = 86_400 * 10**9

# --- Conventions ---


def add(*terms):
    return min(sum(terms), MAX)


def sub(a, b):
    return max(a - b, 0)


def ceil_div(a, b):
    return -(-a // b)


def checksum(words):
    h = 0xCBF29CE484222325
    for w in words:
        h = (h ^ w) * 0x100000001B3 & MAX
        h ^= h >> 29
    return h


def text_of(words):
    return b"".join(struct.pack("<Q", w) for w in words).rstrip(b"\0").decode()


# --- Buckets ---


class Bucket:
    """The numbers of a bucket, which all follow from what was requested."""

    kind = "bucket"

    def __init__(self, max, per_ns, burst, not_before=None):
        self.max, self.per_ns, self.burst = max, per_ns, burst
        self.shift = 0
        while max << self.shift < per_ns:
            self.shift += 1
        self.ticks_per_ns = ((max << self.shift) << 63) // per_ns
        self.ns_per_tick = min(2**127 // self.ticks_per_ns, MAX)
        self.floor = 0
        if not_before:
            self.floor = self.tick(not_before) + 1 + ((burst - 1) << self.shift)
        self.full = burst << self.shift

    def tick(self, ns):
        return ns * self.ticks_per_ns >> 63

    def first(self, tick):
        return ceil_div(tick << 63, self.ticks_per_ns)

    def conforms_from(self, tat, cost):
        return sub(max(tat, self.floor), (self.burst - cost) << self.shift)

    def charged(self, tat, tick, cost):
        return max(tat, self.floor, tick) + (cost << self.shift)

    def usage(self, tat, now):
        tick = self.tick(now)

        def level(x):
            return min(sub(x, tick), self.full)

        return {
            "used": ceil_div(level(tat), 1 << self.shift),
            "available": (self.full - level(max(tat, self.floor))) >> self.shift,
            "queued": ceil_div(sub(tat, max(self.floor, tick + self.full)), 1 << self.shift),
            "next_at_ns": max(self.first(self.conforms_from(tat, 1)), now),
        }

    def debt(self, tat, now, tokens):
        t = self.charged(tat, self.tick(now), tokens)
        if t >= TAT_END:
            return None, None
        return t, self.first(max(sub(t, self.full), self.tick(now)))

    def given_back(self, tat, reserved, at, now, part):
        if sub(max(tat, self.floor), self.full) > self.tick(now):
            return tat
        leaked = sub(self.tick(now), self.tick(at)) + 1
        return min(max(sub(tat, sub(part << self.shift, leaked)), reserved + 1), tat)

    def bound(self, now):
        return self.tick(now + US) + self.full + 1

    def carry(self, tat, now, new):
        c, bound = self.tick(now + US), self.bound(now)
        if self.floor >= bound:
            tat = min(tat, bound)
        else:
            tat -= ceil_div(sub(tat, bound), 1 << self.shift) << self.shift
        numbers = lambda b: (b.shift, b.ticks_per_ns, b.ns_per_tick)
        if numbers(self) == numbers(new):
            after = min(tat, c + new.full + 1)
        else:
            used, d = sub(tat, c), new.shift - self.shift
            used = used << d if d >= 0 else ceil_div(used, 1 << -d)
            after = new.tick(now + US) + 1 + min(used, new.full)
        return min(after, TAT_END - 1)

    # As one of several limits.
    words = 2

    def zero_usage(self, at, _words):
        return [self.tick(at), 0]

    def instant(self, words, cost, _ring):
        return self.first(self.conforms_from(words[0], cost))

    def charge(self, words, at, cost, now):
        tick = self.tick(at)
        if at > now:
            slot = self.conforms_from(words[0], cost)
            tick = slot if self.first(slot) == at else tick
        return [self.charged(words[0], tick, cost), (words[1] + cost) & MAX]


# --- Windows ---


class Fixed:
    words = 2

    def __init__(self, max, per_ns, y=None):
        self.max, self.per, self.y = max, per_ns, y
        self.kind = "windows from first use" if y is None else "windows since 1970"

    def z(self, instant):
        return self.y if instant >= self.y else self.y % self.per

    def begin(self, instant):
        if self.y is None:
            return instant
        z = self.z(instant)
        return 0 if instant < z else instant - (instant - z) % self.per

    def end(self, start):
        if self.y is not None and start < self.z(start):
            return self.z(start)
        return add(start, self.per)

    def zero_usage(self, _at, _words):
        return [0, 0]

    def is_over(self, words, at):
        return list(words) == [0, 0] or at >= self.end(words[0])

    def instant(self, words, cost, _ring):
        return 0 if words[1] + cost <= self.max else self.end(words[0])

    def charge(self, words, at, cost, _now):
        start, used = words
        if self.is_over(words, at):
            start, used = self.begin(at), 0
        return [start, used + cost]

    def used(self, words, now, _ring):
        return 0 if self.is_over(words, now) else min(words[1], self.max)


class Sliding:
    words = 3
    kind = "sliding counter"

    def __init__(self, max, per_ns):
        self.max, self.per = max, per_ns

    def zero_usage(self, at, _words):
        return [at, 0, 0]

    def moved(self, words, at):
        start, used, previous = words
        passed = sub(at, start) // self.per
        if passed == 0:
            return start, used, previous
        return start + passed * self.per, 0, used if passed == 1 else 0

    def wait(self, p, room):
        return 0 if p <= room else self.per - room * self.per // p

    def instant(self, words, cost, _ring):
        start, used, previous = words
        if used + cost <= self.max:
            wait = self.wait(previous, self.max - used - cost)
            return add(start, wait) if wait else 0
        return add(start, self.per, self.wait(used, sub(self.max, cost)))

    def charge(self, words, at, cost, _now):
        start, used, previous = self.moved(words, at)
        return [start, used + cost, previous]

    def used(self, words, now, _ring):
        start, used, previous = self.moved(words, now)
        return min(used + ceil_div(previous * (start + self.per - now), self.per), self.max)


# --- Greedy limits ---


def slot(era, time):
    return era << 54 | min(ceil_div(time, 64), 2**54 - 1)


class Greedy:
    words = 9
    kind = "greedy"

    def __init__(self, max, span):
        self.max, self.span = max, span

    def zero_usage(self, _at, words):
        count, newest, cancelled, era = words[0], words[2], words[7], words[8]
        next_era = min(era + 1, 1023)
        cancelled = 0 if next_era > era else max(cancelled, newest)
        return [count, 0, 0, count, count, count, 0, cancelled, next_era]

    @staticmethod
    def is_damaged(words):
        return words[0] >= 2**62 or words[4] > words[0] or words[5] > words[0]

    def time(self, words, index, ring):
        count, pending, newest, gap_from, gap_to, floor_index, floor_time, _, era = words
        if index >= count - pending:
            return newest
        if index < gap_to:
            index -= gap_to - gap_from
        if index < 0:
            return 0
        if index < floor_index:
            return floor_time
        found = ring[index % len(ring)]
        return newest if found >> 54 > era else min((found & (2**54 - 1)) * 64, newest)

    def instant(self, words, cost, ring):
        index = words[0] + cost - self.max - 1
        time = self.time(words, index, ring) if index >= 0 else 0
        return add(time, self.span) if time else 0

    def charge(self, words, at, cost, _now):
        count, _, newest, *rest = words
        return [count + cost, cost, max(newest, ceil_div(at, 64) * 64), *rest]

    @staticmethod
    def slots_to_raise(words, capacity):
        count, pending, newest, era = words[0], words[1], words[2], words[8]
        return [[index % capacity, slot(era, newest)] for index in range(count - pending, count)]

    def used(self, words, now, ring):
        last = range(max(words[0] - self.max, 0), words[0])
        times = [self.time(words, index, ring) for index in last]
        return len([time for time in times if time and time > sub(now, self.span)])


# --- Records ---


def limit_of(kind, numbers, not_before=None, wall_ns=0):
    max, per, burst = numbers["max"], numbers["per_ns"], numbers["burst"]
    if kind == "bucket":
        return Bucket(max, per, burst, not_before)
    if kind == "greedy":
        return Greedy(max, per + numbers["guard_ns"])
    if kind == "windows since 1970":
        # An instant at which the nanoseconds since 1970 are a multiple of per.
        return Fixed(max, per, (per - wall_ns % per) % per)
    if kind == "windows from first use":
        return Fixed(max, per)
    assert kind == "sliding counter", kind
    return Sliding(max, per)


class Record:
    """Where the words of limits are in a record, in a file with these rings."""

    def __init__(self, limits, ring_slots):
        self.limits, at = limits, 2
        # Where the nine words of each ring begin.
        self.ring_words = {}
        starts = []
        for i, slots in enumerate(ring_slots):
            limit = limits[i] if i < len(limits) else None
            if slots:
                self.ring_words[i] = at
                starts.append(at if isinstance(limit, Greedy) else at + 1)
                at += 9
            else:
                starts.append(at)
                at += limit.words if limit else 0
        self.starts = starts
        self.end = at
        self.tails = []
        at += 1
        for limit in limits:
            self.tails.append(at)
            at += 1 if isinstance(limit, Greedy) else 1 + limit.words
        self.end_with_tail = at

    def has_tail(self, words):
        return words[1] not in (0, MAX)

    def words_of(self, words, i):
        return words[self.starts[i] : self.starts[i] + self.limits[i].words]

    def tail_of(self, words, i):
        at = self.tails[i]
        return words[at], words[at + 1 : at + 1 + self.limits[i].words]

    def zero_usage(self, at):
        words = [0] * self.end
        for i, limit in enumerate(self.limits):
            own = limit.zero_usage(at, [0] * 9)
            words[self.starts[i] : self.starts[i] + limit.words] = own
        return words

    def instant(self, words, costs, rings, not_before, now):
        instants = [
            limit.instant(self.words_of(words, i), costs[i], rings[i]) for i, limit in enumerate(self.limits) if costs[i]
        ]
        return max([words[0], not_before or 0, now, *instants])

    def charge(self, words, costs, at, now):
        after = list(words) + [0] * (self.end_with_tail - len(words))
        if at <= now:
            after[1] = 0
        elif words[1] != MAX or words[0] <= now:
            if not (self.has_tail(words) and words[0] > now):
                after[1] = at
                after[self.end] = words[0]
                for i, limit in enumerate(self.limits):
                    before = [] if isinstance(limit, Greedy) else self.words_of(words, i)
                    after[self.tails[i] : self.tails[i] + 1 + len(before)] = [0, *before]
            for i in range(len(self.limits)):
                after[self.tails[i]] += costs[i]
        after[0] = max(words[0], at)
        for i, limit in enumerate(self.limits):
            if costs[i]:
                own = limit.charge(self.words_of(words, i), at, costs[i], now)
                after[self.starts[i] : self.starts[i] + limit.words] = own
        return after[: self.end_with_tail if self.has_tail(after) else self.end]

    def carry(self, words, now, new, not_before):
        """A change, if all limits before and after are buckets of the same units."""
        late = now + US
        after = [min(words[0], late), 0] + [0] * (new.end - 2)
        for i, limit in enumerate(new.limits):
            if i >= len(self.limits):
                own = limit.zero_usage(now, None)
            else:
                old, (tat, _) = self.limits[i], self.words_of(words, i)
                has_queue = self.has_tail(words) and late < words[0]
                queued, tail = self.tail_of(words, i) if has_queue else (0, None)
                if has_queue and late < words[1]:
                    tat = tail[0]
                else:
                    if has_queue:
                        tat = min(tat, max(tail[0], old.tick(late) + 1) + (queued << old.shift))
                    if len(self.limits) > 1 or (not_before or 0) > late:
                        tat = min(tat, old.bound(now))
                own = [old.carry(tat, now, limit), 0]
            after[new.starts[i] : new.starts[i] + 2] = own
        return after


# --- Words ---


def state_of(word):
    return ["live", "damaged", "frozen", "unset"][word >> 62], word & (TAT_END - 1)


def permit_word(seat, tenure, number):
    return 1 << 63 | seat << 51 | (number % 2**11) << 40 | tenure % 2**40


def seat_byte(index, tenure):
    return 2**40 + tenure % 2**20 * 4096 + index


def next_tenure(tenure):
    return tenure + 1 if tenure % 2 == 0 else tenure + 2


def is_name(name):
    control = any(unicodedata.category(c) == "Cc" for c in name)
    return 1 <= len(name.encode()) <= 200 and "/" not in name and not control and not name.startswith(".")


def parts(seats, cells, rings, permits, tables=0, rows=0):
    """Where the parts of a file are, and where it ends."""
    up_to = lambda at, unit: ceil_div(at, unit) * unit
    line = lambda at: up_to(at, 64)
    places = min(max(line(2 * seats), 64), 4096)
    at = {"cells": 20480 + 256 * seats}
    at["turn_cells"] = at["cells"] + 448 * cells
    at["slots"] = at["turn_cells"] + (448 * 64 if cells else 0)
    at["permits"] = at["slots"] + 8 * sum(rings)
    at["standing"] = line(at["permits"] + 8 * permits)
    at["places"] = line(at["standing"] + places // 8)
    at["end"] = at["places"] + 128 * places
    if tables:
        size = 256 * rows * tables
        at["key_stats"] = at["end"]
        at["chunks"] = at["key_stats"] + 9920
        at["fixed_end"] = at["chunks"] + 8 * ceil_div(ceil_div(size, 4096), 64)
        at["tables"] = up_to(at["fixed_end"], 4096 if size < 2**22 else 2**21)
        at["end"] = up_to(at["tables"] + size, 4096)
    return at, places


def power_of_two(n):
    return 1 << max(n - 1, 0).bit_length()


def room(limits, permits, seats):
    """The geometry of a new file for these limits."""
    one_word = not limits or (len(limits) == 1 and limits[0]["kind"] == "bucket" and not limits[0]["unit"])
    slots = lambda limit: max(power_of_two(limit["numbers"]["max"]), 1024) if limit["kind"] == "greedy" else 0
    rings = [slots(limit) for limit in limits] + [0] * (4 - len(limits))
    return 0 if one_word else 2 * seats + 2, rings, max(power_of_two(permits), 64)


def room_for_keys(keys):
    """Tables, and rows of each."""
    if not keys:
        return 0, 0
    return len(keys["limits"]), min(max(ceil_div(5 * keys["capacity"] // 2, 16), 16), 2**32)


# --- Configurations ---

KINDS = [
    "bucket", "greedy", "windows since 1970", "windows from first use", "sliding counter", "calendar windows",
]


class Layout:
    """Offsets of words, from the vectors."""

    def __init__(self, vectors):
        self.at, self.numbers = vectors["offsets"], vectors["numbers"][0]
        self.fingerprint = vectors["fingerprint"]

    def generation(self, part, field):
        g = self.at["generation"]
        return {"generation_header": g["header"], "state": g["state"]}[part] + self.at[part][field]

    def limit(self, i, field):
        base = self.at["generation"]["limits"] + i * self.at["limit"]["size"]
        for part in ("params", "details"):
            if field in self.at["limit_" + part]:
                return base + self.at["limit"][part] + self.at["limit_" + part][field]
        raise KeyError(field)

    def key_limit(self, i, field):
        base = self.at["generation"]["key_limits"] + i * self.at["key_limit"]["size"]
        for part in ("params", "details"):
            if field in self.at["key_limit_" + part]:
                return base + self.at["key_limit"][part] + self.at["key_limit_" + part][field]
        raise KeyError(field)


KEY_FIELDS = ("kind", "burst", "speed", "inverse", "floor", "anchor_ns", "anchor_ticks", "max", "per_ns")


def key_limit_words(limit, rule, flags):
    """The words of a limit per key, in the order of KEY_FIELDS and then of the unit."""
    kind = rule.bits | rule.code << 8 | bool(limit["unit"]) << 16 | flags | rule.shifts()
    return [kind, *rule.params(), rule.max, rule.per, *text_words(limit["unit"], 3)]


def key_flags(shadow, takes_more, refuses_new):
    return shadow << 17 | takes_more << 18 | refuses_new << 19


def key_configuration(layout, word, shape, not_before, shadow):
    """What was requested for each key, and its rules. Fails if a word does not follow from it."""
    count, limits, rules, anchors, walls = shape >> 8 & 0xFF, [], [], [], []
    assert count <= 4 and (count or shape >> 16 & 3 == 0), "the shape"
    keys = {"refuses_new": bool(shape >> 16 & 1), "hides_names": bool(shape >> 17 & 1)}
    flags = key_flags(shadow, bool(shape & 0xFF or shape >> 32 & 0xFFFF), keys["refuses_new"])
    for i in range(4):
        get = lambda field: word(layout.key_limit(i, field))
        found = [get(field) for field in KEY_FIELDS] + [word(layout.key_limit(i, "unit") + 8 * k) for k in range(3)]
        if i >= count:
            assert not any(found), "the words of no limit per key"
            continue
        kind = KINDS[found[0] >> 8 & 0xFF]
        numbers = {"max": get("max"), "per_ns": get("per_ns"), "burst": get("burst"), "guard_ns": 0}
        wall_ns = 0 if kind == "bucket" else get("inverse")
        call_bits = found[0] & 0xFF if kind == "bucket" else 0
        anchor = {"ns": get("anchor_ns"), "ticks": get("anchor_ticks"), "call_bits": call_bits}
        assert call_bits <= 55, "the ticks of a call"
        rule = format_keys.key_limit(kind, numbers, anchor, not_before, wall_ns)
        limit = {"kind": kind, "numbers": numbers, "unit": text_of(found[9:])}
        expect(key_limit_words(limit, rule, flags), found, f"the words of limit {i} per key")
        assert 1 <= numbers["max"] <= numbers["per_ns"] <= 366 * DAY, "the rate"
        if kind != "bucket":
            assert numbers["per_ns"] >= 10**9 and numbers["max"] <= rule.full, "the window"
            walls.append(wall_ns)
        else:
            assert rule.clock.times(rule.clock.speed, 1) <= 256, "the speed of the clock"
        limits.append(limit)
        rules.append(rule)
        anchors.append(anchor)
    assert len(set(walls)) <= 1, "the offset of the wall clock"
    if not count:
        return None, []
    return {"limits": limits, **keys, "anchors": anchors, "wall_ns": walls[0] if walls else 0}, rules


def configuration(layout, word):
    """What was requested, from the words of a generation. Fails if a word does not follow from it."""
    head = lambda field: word(layout.generation("generation_header", field))
    wall_ns, origin = head("wall_ns"), head("origin")
    assert origin < 4, "the origin"
    summed = [word(at) for at in layout.numbers["summed_in_generation"]]
    assert checksum(summed) == head("checksum"), "the configuration's checksum"
    shape, waiters = head("shape"), head("max_waiters")
    count, permits = shape & 0xFF, shape >> 32 & 0xFFFF
    assert count <= 4 and shape >> 18 & 0x3FFF == 0 and (count or permits or shape >> 8 & 0xFF), "the shape"
    assert waiters == 0 or waiters >> 32 == 1, "max waiters"
    flag = lambda i, bit: word(layout.limit(i, "kind")) >> bit & 1
    shadow = bool(flag(0, 17))
    limits, units, rules = [], [], []
    for i in range(4):
        get = lambda field: word(layout.limit(i, field))
        params = ("kind", "burst", "ticks_per_ns", "ns_per_tick", "floor", "fast_burst", "max", "per_ns", "guard_ns", "unit")
        if i >= count:
            expected = [2**17 if i == 0 and shadow else 0] + [0] * (len(params) - 1)
            assert [get(field) for field in params] == expected, "the words of no limit"
            continue
        numbers = {field: get(field) for field in ("max", "per_ns", "burst", "guard_ns")}
        kind = KINDS[get("kind") >> 8 & 0xFF]
        assert kind != "calendar windows", "this reader knows no calendar"
        unit = text_of(word(layout.limit(i, "unit") + 8 * k) for k in range(3))
        limits.append({"kind": kind, "numbers": numbers, "unit": unit})
        units.append(unit)
        rules.append(limit_of(kind, numbers, head("not_before_ns"), wall_ns))
    for i, rule in enumerate(rules):
        get = lambda field: word(layout.limit(i, field))
        span, floor, fast = limits[i]["numbers"]["per_ns"] + limits[i]["numbers"]["guard_ns"], 0, 0
        x, y, shift = span, 0, 0
        if isinstance(rule, Bucket):
            x, y, floor, shift = rule.ticks_per_ns, rule.ns_per_tick, rule.floor, rule.shift
            fast = rule.burst if count == 1 and not permits and not units[0] else 0
        elif rule.kind == "windows since 1970":
            y = rule.y
        if not isinstance(rule, Bucket):
            assert get("burst") == rule.max, "the burst is max"
        kind = shift | KINDS.index(rule.kind) << 8 | bool(units[i]) << 16 | shadow << 17
        found = [get(f) for f in ("kind", "ticks_per_ns", "ns_per_tick", "floor", "fast_burst")]
        assert found == [kind, x, y, floor, fast], f"the numbers of limit {i}: {found}, not {[kind, x, y, floor, fast]}"
        numbers = limits[i]["numbers"]
        assert 1 <= numbers["max"] <= numbers["per_ns"] <= 366 * DAY, "the rate"
    if not any(rule.kind == "windows since 1970" for rule in rules if not isinstance(rule, Bucket)):
        start, end = layout.at["generation"]["calendar"], layout.at["generation"]["state"]
        assert not any(word(at) for at in range(start, end, 8)), "the words of no calendar"
    keys, key_rules = key_configuration(layout, word, shape, head("not_before_ns"), shadow)
    return {
        "number": head("number"),
        "starts_empty": bool(origin & 1),
        "since_ns": head("since_ns"),
        "not_before_ns": head("not_before_ns") or None,
        "permits": permits,
        "most_permits_ever": shape >> 48,
        "max_waiters": waiters & 0xFFFFFFFF if waiters else None,
        "shadow": shadow,
        "limits": limits,
        "keys": keys,
    }, rules, key_rules


# --- Vectors ---


TEXTS = ("about", "name", "path", "directory", "kind", "unit", "outcome", "key")


LISTS_OF_TEXTS = ("parts", "parts_hex")


def numbers(value, texts=TEXTS):
    """The vectors, with numbers in place of their digits. Texts, except among the offsets, keep their digits."""
    if isinstance(value, dict):
        is_text = lambda k, v: k in texts and isinstance(v, str) or k in LISTS_OF_TEXTS
        below = lambda k: () if k == "offsets" else texts
        return {k: v if is_text(k, v) else numbers(v, below(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [numbers(v, texts) for v in value]
    return int(value) if isinstance(value, str) else value


def bucket_of(v):
    bucket = Bucket(v["max"], v["per_ns"], v["burst"], v["not_before_ns"])
    expect(bucket.floor, v["floor"], "the floor")
    return bucket


def expect(found, expected, what):
    assert found == expected, f"{what}: the page leads to {found}, the vectors say {expected}"


def check_checksums(v):
    expect(checksum(v["words"]), v["checksum"], "the checksum")


def check_state_words(v):
    state, value = state_of(v["word"])
    expect(state, v["kind"], "the state")
    if state != "damaged":
        expect(value, v["value"], "the value")


def check_record_pointers(v):
    expect((v["word"] >> 14, v["word"] & 0x3FFF), (v["version"], v["cell"]), "version and cell")
    expect((v["version"] + 1) % 2**48 << 14 | v["next_cell"], v["next_word"], "the next word")


def check_permit_words(v):
    expect(permit_word(v["seat"], v["tenure"], v["number"]), v["word"], "the word")


def check_turn_words(v):
    expect(1 << 62 | v["place"] << 40 | v["tenure"] % 2**40, v["being_filled"], "being filled")
    expect(2 << 62 | (v["number_before"] + 1) % 2**62, v["ready"], "ready")


def check_locked_bytes(v):
    byte = seat_byte(v["index"], v["tenure"])
    expect((byte, byte + 2**41), (v["seat"], v["place"]), "the bytes of seat and place")


def check_tenures(v):
    expect(next_tenure(v["found"]), v["taken"], "the tenure of the new holder")
    expect(v["taken"] + 1, v["released"], "the tenure after its release")


def check_names(v):
    expect(is_name(v["name"]), v["is_valid"], f"whether {v['name']!r} is a name")
    if v["is_valid"]:
        expect(v["directory"] + "/" + v["name"], v["path"], "the path")


def check_configurations(v, layout):
    found, *_ = configuration(layout, lambda at: v["words"][at // 8])
    expect(found, {k: v[k] for k in found}, "the configuration")


def check_files(v):
    cells, rings, permits = room(v["limits"], v["permits"], v["seats"])
    tables, rows = room_for_keys(v["keys"])
    offsets, places = parts(v["seats"], cells, rings, permits, tables, rows)
    found = {
        "cells": cells, "permits": permits, "places": places, "tables": tables, "rows": rows,
        "chunks": ceil_div(256 * tables * rows, 4096), "rings": rings,
    }
    expect(found, v["numbers"], "the geometry")
    expect(offsets, v["offsets"], "the offsets")


def check_ticks(v):
    bucket = Bucket(v["max"], v["per_ns"], 1)
    found = (bucket.shift, bucket.ticks_per_ns, bucket.ns_per_tick)
    expect(found, (v["shift"], v["ticks_per_ns"], v["ns_per_tick"]), "shift, ticks per ns, ns per tick")
    expect([[ns, bucket.tick(ns)] for ns, _ in v["tick_of_ns"]], v["tick_of_ns"], "ticks")
    expect([[t, bucket.first(t)] for t, _ in v["first_ns_of_tick"]], v["first_ns_of_tick"], "first nanoseconds")
    for tick, first in v["first_ns_of_tick"]:
        assert 0 <= first - (tick * bucket.ns_per_tick >> 64) <= 2, "ns per tick leads to at most 2 less"


def check_bucket_decisions(v):
    bucket, now = bucket_of(v["bucket"]), v["now_ns"]
    at = bucket.first(bucket.conforms_from(v["tat"], v["cost"]))
    expect((at, at <= now), (v["conforms_at_ns"], v["conforms_now"]), "the instant")
    expect(bucket.charged(v["tat"], bucket.tick(now), v["cost"]), v["tat_after"], "the state after it")
    expect(bucket.usage(v["tat"], now), v["usage"], "the usage")


def check_bucket_debts(v):
    found = bucket_of(v["bucket"]).debt(v["tat"], v["now_ns"], v["tokens"])
    expect(found, (v["tat_after"], v["last_at_ns"]), "the debt")


def check_bucket_refunds(v):
    bucket, part, tat = bucket_of(v["bucket"]), v["part"], v["state"]["tat"]
    expect(sub(tat, part << bucket.shift), v["tat_after_if_newest_reservation"], "the state before a reservation")
    found = bucket.given_back(tat, v["state"]["reserved"], v["admitted_at_ns"], v["now_ns"], part)
    expect(found, v["tat_after_otherwise"], "the state after giving back")


def check_bucket_changes(v):
    found = bucket_of(v["from"]).carry(v["tat"], v["now_ns"], bucket_of(v["to"]))
    expect(found, v["tat_after"], "the new state")


def check_window(limit, v):
    at = max(limit.instant(v["words"], v["cost"], None), v["now_ns"])
    expect(at, v["admitted_at_ns"], "the instant")
    expect(list(limit.charge(v["words"], at, v["cost"], v["now_ns"])), v["words_after"], "the words after it")
    expect(limit.used(v["words"], v["now_ns"], None), v["used_now"], "used")


def check_fixed_windows(v):
    check_window(Fixed(v["max"], v["per_ns"], v["y"]), v)


def check_sliding_counters(v):
    check_window(Sliding(v["max"], v["per_ns"]), v)


def check_greedy_limits(v):
    limit, words = Greedy(v["max"], v["span_ns"]), v["words"]
    expect(limit.is_damaged(words), v.get("is_damaged", False), "damage")
    if limit.is_damaged(words):
        return
    at = max(limit.instant(words, v["cost"], v["ring"]), v["now_ns"])
    expect(at, v["admitted_at_ns"], "the instant")
    expect(limit.slots_to_raise(words, len(v["ring"])), v["slots_to_raise_before_it"], "the slots")
    expect(limit.charge(words, at, v["cost"], v["now_ns"]), v["words_after"], "the words after it")


def limits_of(v, not_before=None, wall_ns=0):
    return [limit_of(limit["kind"], limit["numbers"], not_before, wall_ns) for limit in v]


def check_zero_usage(v):
    record = Record(limits_of(v["limits"]), v["ring_slots"])
    expect(record.zero_usage(v["at_ns"]), v["words"], "the first record")


def check_record_decisions(v):
    rings = [v["rings"][str(i)] for i in range(4)]
    record = Record(limits_of(v["limits"], v["not_before_ns"], v["wall_ns"]), [len(ring) for ring in rings])
    at = record.instant(v["words"], v["costs"], rings, v["not_before_ns"], v["now_ns"])
    expect(at, v["admitted_at_ns"], "the instant")
    expect(record.charge(v["words"], v["costs"], at, v["now_ns"]), v["words_after"], "the record after it")


def check_record_changes(v):
    before, after = v["from"], v["to"]
    old = Record(limits_of(before["limits"], before["not_before_ns"]), [0] * 4)
    new = Record(limits_of(after["limits"], after["not_before_ns"]), [0] * 4)
    expect(old.carry(v["words"], v["now_ns"], new, before["not_before_ns"]), v["words_after"], "the new record")


# The table of the page, to find where it differs from the code.
PAGE = {
    "file": {
        "identity": 0, "geometry": 64, "name": 192, "epoch_line": 448, "line": 512, "seatless": 576, "coherence_probe": 640,
        "generations": 2560, "turns": 13312, "size": 20480,
    },
    "identity": {
        "magic": 0, "version": 8, "layout": 16, "file_size": 24, "boot_id": 32, "time_namespace": 48, "checksum": 56,
    },
    "geometry": {
        "seats": 0, "name_len": 8, "created_ns": 16, "created_unix": 24, "cells": 32, "permits": 40, "rings": 48,
        "wall_ns": 80, "key_tables": 88, "key_rows": 96, "hash_key": 104,
    },
    "epoch_line": {"epoch": 0},
    "line": {"probed_ns": 0, "unordered": 8, "probed_all_ns": 16, "dead_found_ns": 24},
    "generation": {"size": 1344, "header": 0, "limits": 64, "key_limits": 576, "calendar": 1088, "state": 1280},
    "generation_header": {
        "number": 0, "origin": 8, "since_ns": 16, "not_before_ns": 24, "shape": 32, "max_waiters": 40, "checksum": 48,
        "wall_ns": 56,
    },
    "limit": {"size": 128, "params": 0, "details": 64},
    "limit_params": {"kind": 0, "burst": 8, "ticks_per_ns": 16, "ns_per_tick": 24, "floor": 32, "fast_burst": 40},
    "limit_details": {"max": 0, "per_ns": 8, "guard_ns": 16, "unit": 24},
    "key_limit": {"size": 128, "params": 0, "details": 64},
    "key_limit_params": {
        "kind": 0, "burst": 8, "speed": 16, "inverse": 24, "floor": 32, "anchor_ns": 40, "anchor_ticks": 48,
    },
    "key_limit_details": {"max": 0, "per_ns": 8, "unit": 16},
    "calendar": {"size": 192, "zone": 0, "offsets": 40, "earliest_ns": 176, "continuous_ns": 184},
    "state": {"word": 0, "reserved": 8},
    "turns": {"states": 0, "instants": 13824 - 13312, "turns": 14336 - 13312},
    "turn": {"size": 96, "number": 0, "epoch": 8, "before": 16, "after": 24, "costs": 32, "charged": 64},
    "seat": {"size": 256, "holder": 0, "before": 64, "own": 128, "shared": 192},
    "holder": {"tenure": 0, "pid": 8, "pid_namespace": 16, "since_ns": 24, "command": 32},
    "counters": {"admitted": 0, "extra_calls": 8, "denied": 16, "waited": 24, "waited_ns": 32},
    "place": {
        "size": 128, "ticket": 0, "plan": 8, "bell": 16, "behind": 24, "newest": 32, "epoch": 40, "costs": 48, "holder": 80,
    },
    "cell": {"size": 448, "words": 0},
    "key_stats": {"size": 9920, "forgotten": 0, "inherited": 576, "refused": 1152, "denied": 1728},
    "events": {"size": 576, "total": 0, "seconds": 64},
    "denied_key": {"size": 128, "tag": 0, "recent": 8, "before": 16, "name_len": 24, "check": 32, "name": 40},
    "row": {"size": 256},
}


def check_page(vectors):
    for part, fields in PAGE.items():
        for field, at in fields.items():
            expect(at, vectors["offsets"][part][field], f"the offset of {part}.{field}")
    expect(int.from_bytes(b"SHMLIMIT", "little"), vectors["magic"], "the magic")
    expect(1, vectors["version"], "the version")
    format_keys.check_examples(expect)


def check_vectors(vectors):
    check_page(vectors)
    layout, counts = Layout(vectors), {}
    for section, rows in vectors.items():
        if section in ("about", "magic", "version", "fingerprint", "offsets", "numbers"):
            continue
        own = globals().get("check_" + section)
        for i, row in enumerate(rows):
            try:
                if own:
                    own(row, layout) if section == "configurations" else own(row)
                else:
                    extra = [checksum] if section in ("denied_keys", "most_denied") else []
                    getattr(format_keys, "check_" + section)(row, expect, *extra)
            except AssertionError as differs:
                sys.exit(f"{section}[{i}]: {differs}")
        counts[section] = len(rows)
    print(json.dumps(counts))


# --- Files ---


def is_locked(file, byte):
    """Whether a process holds the lock on this byte."""
    lock = struct.pack("@hhqqi", fcntl.F_WRLCK, 0, byte, 1, 0)
    kind = struct.unpack("@hhqqi", fcntl.fcntl(file, getattr(fcntl, "F_OFD_GETLK", 36), lock))[0]
    return kind != fcntl.F_UNLCK


class Reader:
    """One limiter's file, mapped. Nothing in it changes while it is read, apart from what does not matter here."""

    def __init__(self, vectors, path, file, memory):
        self.layout, self.path, self.file, self.memory = Layout(vectors), path, file, memory
        self.seats, self.cells, self.permits = (self.of("geometry", name) for name in ("seats", "cells", "permits"))
        self.rings = [self.of("geometry", "rings", i) for i in range(4)]
        self.tables, self.rows = self.of("geometry", "key_tables"), self.of("geometry", "key_rows")
        self.hash_key = [self.of("geometry", "hash_key", i) for i in range(2)]
        self.offsets, self.places = parts(self.seats, self.cells, self.rings, self.permits, self.tables, self.rows)

    def word(self, at):
        return struct.unpack_from("@Q", self.memory, at)[0]

    def words(self, at, n):
        return [self.word(at + 8 * i) for i in range(n)]

    def of(self, part, field, i=0):
        """A word of a part at the beginning of the file."""
        return self.word(self.layout.at["file"][part] + self.layout.at[part][field] + 8 * i)

    def check_header(self):
        at = self.layout.at["file"]
        expect(self.memory[:8], b"SHMLIMIT", "the magic")
        expect(self.of("identity", "version"), 1, "the version")
        expect(self.of("identity", "layout"), self.layout.fingerprint, "the fingerprint")
        expect(len(self.memory), self.offsets["end"], "the size of the file")
        expect(self.of("identity", "file_size"), len(self.memory), "the size in the file")
        summed = self.words(at["identity"], 7) + self.words(at["geometry"], 15) + self.words(at["name"], 32)
        expect(self.of("identity", "checksum"), checksum(summed), "the header's checksum")
        name = self.memory[at["name"] : at["name"] + self.of("geometry", "name_len")].decode()
        assert self.path.endswith("/" + name) and is_name(name), f"the name {name!r}"
        return name

    def generation(self):
        """The current epoch, its configuration and rules, and the value of its state."""
        epoch = self.of("epoch_line", "epoch")
        assert epoch < 2**63, "the limiter is retired"
        start = self.layout.at["file"]["generations"] + epoch % 8 * self.layout.at["generation"]["size"]
        config, rules, key_rules = configuration(self.layout, lambda at: self.word(start + at))
        expect(config["number"], epoch, "the number of the generation")
        expect(len(key_rules), self.tables, "the number of tables")
        state, value = state_of(self.word(start + self.layout.generation("state", "word")))
        expect(state, "live", "the state")
        return epoch, config, rules, key_rules, value

    def row(self, table, i):
        """A row of a table, which is not touched if it has no memory."""
        row = table * self.rows + i
        chunk = row * 256 // 4096
        if not self.word(self.offsets["chunks"] + chunk // 64 * 8) >> chunk % 64 & 1:
            return None
        words = self.words(self.offsets["tables"] + 256 * row, 32)
        # The low half of a 128-bit number, then its high half, or the other way round.
        low = 0 if sys.byteorder == "little" else 1
        return format_keys.Row([(words[k + low], words[k + 1 - low]) for k in range(0, 32, 2)])

    def live_states(self, table, limit, now):
        """The states of all keys of a table that have less left than an unused one."""
        rows = [self.row(table, i) for i in range(self.rows)]
        return sorted(state for row in rows if row for state in row.states() if limit.is_live(state, now))

    def key(self, key_rules, key_parts, now):
        """What is known of a key, for each of its limits."""
        found = []
        for table, limit in enumerate(key_rules):
            hashed, tag = format_keys.hash_of(self.hash_key, key_parts)
            row = self.row(table, format_keys.row_of(hashed, self.rows))
            is_known, state = row.known(limit, tag, now) if row else (False, 0)
            used, left = limit.usage(state, now)
            next_in = format_keys.next_at(limit, state, now) - now
            found.append({"known": is_known, "used": used, "available": left, "next_in_ns": next_in})
        return found

    def key_counts(self, now):
        """How often keys were forgotten, new ones denied, and which are denied most."""
        start, stats = self.offsets["key_stats"], self.layout.at["key_stats"]
        counts = {}
        for event in ("forgotten", "inherited", "refused"):
            events = start + stats[event]
            words = [self.word(events), *self.words(events + self.layout.at["events"]["seconds"], 64)]
            total, last_minute = format_keys.events(words, now)
            counts[event] = {"total": total, "last_minute": last_minute}
        denied = [self.words(start + stats["denied"] + 128 * i, 11) for i in range(64)]
        return {**counts, "most_denied": format_keys.most_denied(denied, now, checksum)}

    def usage(self, config, rules, value, now):
        if self.cells:
            return self.usage_in_record(config, rules, value, now)
        if rules:
            return [rules[0].usage(value, now)]
        expect(value, 0, "the state without a limit")
        return []

    def usage_in_record(self, config, rules, value, now):
        record = Record(rules, self.rings)
        words = self.words(self.offsets["cells"] + 448 * (value & 0x3FFF), 56)
        assert words[0] <= now, "a turn lies ahead, of which this reader does not tell the usage"
        starts = [self.offsets["slots"] + 8 * sum(self.rings[:i]) for i in range(4)]
        rings = [self.words(start, n) for start, n in zip(starts, self.rings)]
        held_until = max(words[0], config["not_before_ns"] or 0)
        all_usage = []
        for i, rule in enumerate(rules):
            own = record.words_of(words, i)
            if isinstance(rule, Bucket):
                usage = rule.usage(own[0], now)
            else:
                used = rule.used(own, now, rings[i])
                usage = {"used": used, "available": rule.max - used, "queued": 0}
            usage["next_at_ns"] = max(rule.instant(own, 1, rings[i]), held_until, now)
            if held_until > now:
                usage["available"] = 0
            all_usage.append(usage)
        return all_usage

    def counters(self, at):
        get = lambda name: self.word(at + self.layout.at["counters"][name])
        admitted = get("admitted")
        return [admitted, admitted + get("extra_calls"), get("denied"), get("waited"), get("waited_ns")]

    def holder(self, at):
        """Tenure, PID, command, and since when, of a seat or place."""
        get = lambda name: self.word(at + self.layout.at["holder"][name])
        command = text_of(self.words(at + self.layout.at["holder"]["command"], 2))
        return get("tenure"), {"pid": get("pid"), "command": command}, get("since_ns")

    def processes(self, now):
        """The sums of all counters, and the attached processes that live."""
        plus = lambda *all: [sum(values) & MAX for values in zip(*all)]
        totals = self.counters(self.layout.at["file"]["seatless"])
        permits = self.words(self.offsets["permits"], self.permits)
        attached = []
        for i in range(self.seats):
            seat = self.layout.at["file"]["size"] + self.layout.at["seat"]["size"] * i
            part = lambda name: seat + self.layout.at["seat"][name]
            counts = plus(self.counters(part("own")), self.counters(part("shared")))
            totals = plus(totals, counts)
            tenure, process, since = self.holder(part("holder"))
            if tenure % 2 == 0 or not is_locked(self.file, seat_byte(i, tenure)):
                continue
            is_mine = lambda w: w >> 63 and w >> 51 & 0xFFF == i and w % 2**40 == tenure % 2**40
            counts = [a - b & MAX for a, b in zip(counts, self.counters(part("before")))]
            attached.append(
                {
                    "seat": i, **process, "since_ns": now - since, "admitted": counts[0], "denied": counts[2],
                    "waited": counts[3], "permits": sum(1 for w in permits if is_mine(w)),
                }
            )
        return totals, attached

    def line(self, epoch, units, now):
        """The processes in line that live, in order."""
        found = []
        for p in range(self.places):
            if not self.word(self.offsets["standing"] + p // 64 * 8) >> p % 64 & 1:
                continue
            place = self.offsets["places"] + self.layout.at["place"]["size"] * p
            get = lambda name, i=0: self.word(place + self.layout.at["place"][name] + 8 * i)
            tenure, process, _ = self.holder(place + self.layout.at["place"]["holder"])
            if tenure % 2 == 0 or not is_locked(self.file, 2**41 + seat_byte(p, tenure)):
                continue
            # Where the state is one word, the first amount is the number of calls.
            asks = {unit: get("costs", i if self.cells else 0) for i, unit in enumerate(units)}
            process.update(callers=get("behind") + 1, since_ns=now - get("ticket"))
            process["asks"] = asks if get("epoch") == epoch else {}
            found.append(((get("ticket"), p), process))
        ordered = [process for _, process in sorted(found, key=lambda entry: entry[0])]
        return [{"position": i + 1, **process} for i, process in enumerate(ordered)]


def read_file(vectors, path, age_ns):
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        reader = Reader(vectors, path, file, memory)
        name = reader.check_header()
        now = reader.of("geometry", "created_ns") + age_ns
        epoch, config, rules, key_rules, value = reader.generation()
        usage = reader.usage(config, rules, value, now)
        totals, attached = reader.processes(now)
        units = [limit["unit"] or "calls" for limit in config["limits"]]
        end = config["not_before_ns"] or 0
        holders = [{"seat": process["seat"], "held": process["permits"]} for process in attached if process["permits"]]
        limits = [
            {
                **limit["numbers"], "kind": limit["kind"], "unit": unit, "used": seen["used"],
                "available": seen["available"], "charged_ahead": seen["queued"], "next_in_ns": seen["next_at_ns"] - now,
            }
            for limit, unit, seen in zip(config["limits"], units, usage)
        ]
        permits = {"max": config["permits"], "held": sum(holder["held"] for holder in holders), "holders": holders}
        keys = {}
        if config["keys"]:
            live = [reader.live_states(i, rule, now) for i, rule in enumerate(key_rules)]
            keys = {"keys": {**config["keys"], "rows": reader.rows, **reader.key_counts(now), "live_states": live}}
        return {
            **keys, "name": name, "bytes": len(memory), "seats": reader.seats, "changes": epoch - 1, "shadow": config["shadow"],
            "created_unix": reader.of("geometry", "created_unix"), "max_waiters": config["max_waiters"],
            "paused_for_ns": end - now if end > now else None, "limits": limits,
            "permits": permits if config["permits"] else 0,
            "admitted": totals[0], "calls": totals[1], "denied": totals[2], "waited": totals[3],
            "waited_total_ns": totals[4], "attached": attached,
            "unordered": reader.of("line", "unordered"), "waiting": reader.line(epoch, units, now),
        }


def read_keys(vectors, path, queries):
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as memory:
        reader = Reader(vectors, path, file, memory)
        reader.check_header()
        *_, key_rules, _ = reader.generation()
        created = reader.of("geometry", "created_ns")
        known = lambda parts, age_ns: reader.key(key_rules, [part.encode() for part in parts], created + age_ns)
        return [known(query["parts"], query["age_ns"]) for query in queries]


# --- Creation ---


def text_words(text, n):
    return list(struct.unpack(f"<{n}Q", text.encode().ljust(8 * n, b"\0")))


def namespace(kind):
    try:
        return os.stat(f"/proc/self/ns/{kind}").st_ino
    except FileNotFoundError:
        # The kernel has namespaces, but none of this kind.
        return 1 if os.path.exists("/proc/self/ns/pid") else 0
    except OSError:
        return 0


def configuration_words(layout, policy, rules, since, wall_ns):
    """The words of a new file's first generation, by their offsets. No pause, no shadow mode, any number of waiters."""
    limits, permits = policy["limits"], policy["permits"]
    head = lambda field: layout.generation("generation_header", field)
    words = {head("number"): 1, head("origin"): 1, head("since_ns"): since, head("wall_ns"): wall_ns}
    if any(limit["kind"] == "windows since 1970" for limit in limits):
        for field in ("earliest_ns", "continuous_ns"):
            words[layout.at["generation"]["calendar"] + layout.at["calendar"][field]] = since + wall_ns
    words[head("shape")] = len(limits) | permits << 32 | permits << 48
    keys = policy.get("keys")
    if keys:
        refuses_new, hides_names = keys["refuses_new"], keys["hides_names"]
        words[head("shape")] |= len(keys["limits"]) << 8 | refuses_new << 16 | hides_names << 17
        flags = key_flags(False, bool(limits or permits), refuses_new)
        for i, limit in enumerate(keys["limits"]):
            anchor = format_keys.new_anchor(limit["kind"], limit["numbers"], since)
            rule = format_keys.key_limit(limit["kind"], limit["numbers"], anchor, None, wall_ns)
            own = key_limit_words(limit, rule, flags)
            places = [layout.key_limit(i, field) for field in KEY_FIELDS]
            places += [layout.key_limit(i, "unit") + 8 * k for k in range(3)]
            words.update(zip(places, own))
    for i, (limit, rule) in enumerate(zip(limits, rules)):
        kind, numbers = limit["kind"], limit["numbers"]
        put = lambda field, value: words.update({layout.limit(i, field): value})
        unit = text_words(limit["unit"], 3)
        words.update({layout.limit(i, "unit") + 8 * k: word for k, word in enumerate(unit)})
        put("kind", KINDS.index(kind) << 8 | bool(limit["unit"]) << 16 | getattr(rule, "shift", 0))
        put("ticks_per_ns", numbers["per_ns"] + numbers["guard_ns"])
        for field in ("max", "per_ns", "guard_ns"):
            put(field, numbers[field])
        put("burst", numbers["burst"] if kind == "bucket" else numbers["max"])
        if kind == "bucket":
            put("ticks_per_ns", rule.ticks_per_ns)
            put("ns_per_tick", rule.ns_per_tick)
            is_fast = len(limits) == 1 and not permits and not limit["unit"]
            put("fast_burst", rule.burst if is_fast else 0)
        elif kind == "windows since 1970":
            put("ns_per_tick", rule.y)
    summed = [words.get(at, 0) for at in layout.numbers["summed_in_generation"]]
    return {**words, head("checksum"): checksum(summed)}


def create(vectors, path, policy):
    layout, limits, seats = Layout(vectors), policy["limits"], policy["seats"]
    directory, name = os.path.split(path)
    assert is_name(name), name
    cells, rings, permits = room(limits, policy["permits"], seats)
    tables, rows = room_for_keys(policy.get("keys"))
    offsets, _ = parts(seats, cells, rings, permits, tables, rows)
    since = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    wall_ns = time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot_id = int(file.read().strip().replace("-", ""), 16)

    words = {}
    at = lambda part, field, i=0: layout.at["file"][part] + layout.at[part][field] + 8 * i
    identity = [text_words("SHMLIMIT", 1)[0], 1, layout.fingerprint, offsets["end"], boot_id >> 64, boot_id & MAX]
    identity.append(namespace("time"))
    geometry = [seats, len(name.encode()), since, time.time_ns() // 10**9, cells, permits, *rings, wall_ns]
    geometry += [tables, rows, *(struct.unpack("@2Q", os.urandom(16)) if tables else (0, 0))]
    name_words = text_words(name, 32)
    for part, values in (("identity", identity), ("geometry", geometry), ("name", name_words)):
        words.update({layout.at["file"][part] + 8 * i: value for i, value in enumerate(values)})
    words[at("identity", "checksum")] = checksum(identity + geometry + name_words)
    rules = [limit_of(limit["kind"], limit["numbers"], None, wall_ns) for limit in limits]
    first = layout.at["file"]["generations"] + layout.at["generation"]["size"]
    generation = configuration_words(layout, policy, rules, since, wall_ns)
    words.update({first + offset: value for offset, value in generation.items()})
    state = rules[0].tick(since) if limits and not cells else 0
    if cells:
        state = 1 << 14 | (cells - 1)
        record = Record(rules, rings).zero_usage(since)
        cell = offsets["cells"] + 448 * (cells - 1)
        words.update({cell + 8 * i: value for i, value in enumerate(record)})
    words[first + layout.generation("state", "word")] = state
    words[at("epoch_line", "epoch")] = 1

    temporary = os.path.join(directory, f".shm-limit-{os.getpid()}-{since}")
    file = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(file, offsets["end"])
        os.posix_fallocate(file, 0, offsets.get("fixed_end", offsets["end"]))
        for offset, value in words.items():
            os.pwrite(file, struct.pack("@Q", value), offset)
        os.link(temporary, path)
    finally:
        os.unlink(temporary)
        os.close(file)


def main():
    command, vectors, *rest = sys.argv[1:]
    with open(vectors, encoding="utf-8") as file:
        vectors = numbers(json.load(file))
    if command == "vectors":
        check_vectors(vectors)
    elif command == "create":
        path, policy = rest
        create(vectors, path, json.loads(policy))
    elif command == "keys":
        path, queries = rest
        print(json.dumps(read_keys(vectors, path, json.loads(queries))))
    else:
        path, age_ns = rest
        print(json.dumps(read_file(vectors, path, int(age_ns))))


if __name__ == "__main__":
    main()
