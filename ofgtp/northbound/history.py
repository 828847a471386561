"""The call for the last ten minutes of gateways."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ofgtp.core.flows.drops import Port
from ofgtp.core.history import INTERVAL_S, SPAN_S, Point
from ofgtp.northbound.schema import NoQuery
from ofgtp.northbound.service import HistoryView


class HistoryQuery(NoQuery):
    """Whose history, and how much of it."""

    gateway: str | None = None
    seconds: int = Field(SPAN_S, ge=1, le=SPAN_S, description="Only the last so many seconds")


class RateOutput(BaseModel):
    """What came in by a port, a mean of the interval."""

    frames_per_second: float
    bits_per_second: float


class PointOutput(BaseModel):
    """One interval."""

    at: datetime = Field(description="Its end")
    seconds: float = Field(description="How long it was")
    uplink: RateOutput | None = Field(
        description="Frames that came in by the access port, as the kernel counts them, whatever"
        " became of them; octets are those of whole frames, with the tunnel's headers. null: not"
        " known, as the port is missing, or was made again"
    )
    downlink: RateOutput | None = Field(description="The same of the core port")
    drops_per_second: float | None = Field(
        description="Packets, for all reasons; a mean between two readings of the switch's"
        " counters. It is not asked for this: null where they were not read for /v1/gateways or"
        " /metrics once a minute at least"
    )
    sessions: int = Field(description="In all states, at its end")


class HistoryOutput(BaseModel):
    """The last minutes of a gateway."""

    gateway: str
    points: list[PointOutput] = Field(description="The oldest first")


class HistoryList(BaseModel):
    """The last minutes of gateways, as this run of the controller has seen them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "items": [
                        {
                            "gateway": "gw1",
                            "points": [
                                {
                                    "at": "2026-01-02T03:04:05.678901Z",
                                    "seconds": 5.002,
                                    "uplink": {
                                        "frames_per_second": 1200.4,
                                        "bits_per_second": 1523000.8,
                                    },
                                    "downlink": {
                                        "frames_per_second": 2310.0,
                                        "bits_per_second": 26104000.0,
                                    },
                                    "drops_per_second": None,
                                    "sessions": 312,
                                }
                            ],
                        }
                    ],
                    "interval_seconds": INTERVAL_S,
                    "next": None,
                }
            ]
        }
    )

    items: list[HistoryOutput]
    interval_seconds: int = Field(description="From one point to the next, about")
    next: None = Field(None, description="Always null: there is one page")


def page(views: Sequence[HistoryView]) -> dict[str, Any]:
    """The answer, ready for JSON."""
    return {
        "items": [
            {"gateway": view.gateway, "points": [_point(point) for point in view.points]}
            for view in views
        ],
        "interval_seconds": INTERVAL_S,
        "next": None,
    }


def _point(point: Point) -> dict[str, Any]:
    at = datetime.fromtimestamp(point.at, UTC).isoformat(timespec="microseconds")
    return {
        "at": at.replace("+00:00", "Z"),
        "seconds": round(point.seconds, 3),
        "uplink": _rate(point, "access"),
        "downlink": _rate(point, "core"),
        "drops_per_second": None if point.drops is None else round(point.drops, 3),
        "sessions": point.sessions,
    }


def _rate(point: Point, port: Port) -> dict[str, float] | None:
    rate = point.came[port]
    if rate is None:
        return None
    frames, bits = round(rate.frames, 3), round(rate.bits, 3)
    return {"frames_per_second": frames, "bits_per_second": bits}
