"""The driver of the Python package: see ../README.md for what a driver reads and writes."""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

from shm_limit import Denied, KeyedRateLimit, Limit, RateLimit, ShmLimitError

#: How the kinds of a policy file are called in Python.
_WINDOWS = {"calendar-window": "calendar", "sliding-counter": "sliding"}
_START = {None: "fixed", "epoch": "fixed", "first-use": "first-use"}


def limit_of(described: dict[str, Any]) -> Limit:
    """A limit of a policy file."""
    settings: dict[str, Any] = {name: described[name] for name in ("burst", "zone", "unit") if name in described}
    kind = described.get("kind", "bucket")
    if kind == "greedy":
        settings["greedy"] = True
    elif kind == "fixed-window":
        settings["window"] = _START[described.get("start")]
    elif kind != "bucket":
        settings["window"] = _WINDOWS[kind]
    if "guard" in described:
        text = described["guard"]
        assert text.endswith("ms"), text
        settings["guard"] = int(text[:-2]) / 1000
    return Limit(described["rate"], **settings)


class Driver:
    """One limiter, and the admissions that are kept."""

    def __init__(self) -> None:
        self.limit: Any = None
        self.keyed: Any = None
        self.kept: dict[str, Any] = {}

    def open(self, request: dict[str, Any]) -> dict[str, Any]:
        policy = request["policy"]
        limits = [limit_of(described) for described in policy.get("limit", [])]
        settings = {name: policy[name] for name in ("permits", "max_waiters", "shadow") if name in policy}
        if "keys" in policy:
            of_keys = [limit_of(described) for described in policy["keys"]["limit"]]
            self.keyed = KeyedRateLimit(
                limits=of_keys, in_all=limits, name=request["name"], capacity=request.get("capacity"), **settings
            )
            self.limit = self.keyed.all_keys()
        elif limits:
            self.limit = RateLimit(limits=limits, name=request["name"], **settings)
        else:
            self.limit = RateLimit(name=request["name"], **settings)
        return {"outcome": "done"}

    def on(self, request: dict[str, Any]) -> Any:
        """What the request is about: the limiter, or one of its keys."""
        return self.keyed.key(request["key"]) if "key" in request else self.limit

    def decided(self, request: dict[str, Any], outcome: Any) -> dict[str, Any]:
        if isinstance(outcome, Denied):
            return {
                "outcome": "denied",
                "denied_by": outcome.denied_by,
                "denied_limit": outcome.denied_limit,
                "retry_after_s": outcome.retry_after,
            }
        answer = {"outcome": "admitted", "at_ns": outcome.at_ns, "shadowed": outcome.shadowed}
        if "keep" in request:
            self.kept[request["keep"]] = outcome
        else:
            outcome.release()
        return answer

    def perform(self, request: dict[str, Any]) -> dict[str, Any]:
        done: dict[str, Any] = {"outcome": "done"}
        do, cost = request["do"], request.get("cost")
        if cost is not None and list(cost) == ["calls"]:
            cost = cost["calls"]
        if do == "open":
            return self.open(request)
        if do == "try":
            return self.decided(request, self.on(request).try_acquire(cost))
        if do == "acquire":
            bounds = (request.get("timeout_s"), request.get("max_waiters"))
            return self.decided(request, self.on(request).acquire(cost, *bounds))
        if do == "charge":
            self.on(request).charge(cost)
        elif do == "settle":
            settled = self.kept[request["of"]].settle(cost)
            done["given_back"] = {unit: given_back for unit, (given_back, _) in settled.items()}
        elif do == "release":
            self.kept.pop(request["of"]).release()
        elif do == "reserve":
            reservation = self.limit.reserve(cost)
            done["turns_at_ns"] = [reservation.at_ns]
            # A reservation that nobody keeps is given back.
            self.kept[request.get("keep", f"reservation {request['id']}")] = reservation
        elif do == "cancel":
            done["outcome"] = "done" if self.kept.pop(request["of"]).cancel() else "forfeited"
        elif do == "schedule":
            done["turns_s"] = self.limit.schedule(request["count"])
        elif do == "pause":
            self.limit.pause_for(request["for_s"])
        elif do == "resume":
            self.limit.resume()
        elif do == "change":
            (self.limit if self.keyed is None else self.keyed).change(request["rate"])
        elif do == "change_policy":
            policy = request["policy"]
            settings = {name: policy[name] for name in ("permits", "max_waiters", "shadow") if name in policy}
            self.limit.change_policy([limit_of(described) for described in policy.get("limit", [])], **settings)
        elif do == "reset":
            self.on(request).reset()
        elif do == "status":
            status = self.on(request).status()
            status = status if isinstance(status, dict) else status[0]
            done["status"] = {name: status[name] for name in ("available", "used", "queued") if name in status}
        else:
            done["outcome"] = "unsupported"
        return done

    def answer(self, request: dict[str, Any]) -> None:
        try:
            answer = self.perform(request)
        except ShmLimitError as error:
            answer = {"outcome": "refused", "kind": error.kind, "message": str(error)}
        except ValueError as error:
            # Of an argument, before it is one of the library.
            answer = {"outcome": "refused", "kind": "invalid_input", "message": str(error)}
        answer["id"] = request["id"]
        line = json.dumps({name: value for name, value in answer.items() if value is not None}) + "\n"
        # In one piece: a driver that is killed leaves no half of a line before a whole one.
        os.write(1, line.encode())


def main() -> None:
    driver = Driver()
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "acquire":
            threading.Thread(target=driver.answer, args=(request,), daemon=True).start()
        else:
            driver.answer(request)


if __name__ == "__main__":
    main()
