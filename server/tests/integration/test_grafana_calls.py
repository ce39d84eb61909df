"""What Grafana's data source and Profiles Drilldown ask, in the order and the codec that they ask it.

The data source speaks Connect with binary protobuf, Drilldown through its proxy JSON. A profile is pushed
first, and every answer must hold it: a push is visible at once, whatever the question.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from server_process import CPU, DEADLINE_S, JSON, PROTO, ServerProcess, make_profile, make_push, now_ms

from flamewire_server._proto.google.v1 import profile_pb2
from flamewire_server._proto.querier.v1 import querier_pb2
from flamewire_server._proto.types.v1 import types_pb2

# Method -> messages of its request and its reply.
METHODS: dict[str, tuple[type[Message], type[Message]]] = {
    "ProfileTypes": (querier_pb2.ProfileTypesRequest, querier_pb2.ProfileTypesResponse),
    "LabelNames": (types_pb2.LabelNamesRequest, types_pb2.LabelNamesResponse),
    "LabelValues": (types_pb2.LabelValuesRequest, types_pb2.LabelValuesResponse),
    "Series": (querier_pb2.SeriesRequest, querier_pb2.SeriesResponse),
    "SelectMergeStacktraces": (
        querier_pb2.SelectMergeStacktracesRequest,
        querier_pb2.SelectMergeStacktracesResponse,
    ),
    "SelectMergeSpanProfile": (
        querier_pb2.SelectMergeSpanProfileRequest,
        querier_pb2.SelectMergeSpanProfileResponse,
    ),
    "SelectMergeProfile": (querier_pb2.SelectMergeProfileRequest, profile_pb2.Profile),
    "SelectSeries": (querier_pb2.SelectSeriesRequest, querier_pb2.SelectSeriesResponse),
    "SelectHeatmap": (querier_pb2.SelectHeatmapRequest, querier_pb2.SelectHeatmapResponse),
    "Diff": (querier_pb2.DiffRequest, querier_pb2.DiffResponse),
    "GetProfileStats": (types_pb2.GetProfileStatsRequest, types_pb2.GetProfileStatsResponse),
    "AnalyzeQuery": (querier_pb2.AnalyzeQueryRequest, querier_pb2.AnalyzeQueryResponse),
}
UTF8 = "application/json; allow-utf8-labelnames=true"
GRPC, GRPC_WEB = "application/grpc", "application/grpc-web+proto"
SPAN, TRACE = "00000000000000ab", "0" * 30 + "cd"


@dataclass(frozen=True)
class Client:
    """Asks in one codec, and gives the reply's fields as JSON names them."""

    server: ServerProcess
    codec: str

    def ask(self, method: str, headers: dict[str, str] | None = None, /, **fields: Any) -> dict[str, Any]:
        request_type, reply_type = METHODS[method]
        if self.codec == JSON:
            body = self._post(method, json.dumps(fields).encode(), JSON, headers)
            # Also as strict a reader of JSON as Grafana's own: it must fit the message.
            json_format.Parse(body, reply_type())
            return dict(json.loads(body))
        message = json_format.ParseDict(fields, request_type()).SerializeToString()
        if self.codec == PROTO:
            body = self._post(method, message, PROTO, headers)
        elif self.codec == GRPC:
            body = self._call(method, message, headers)
        else:
            body = _message_of(
                self._post(method, b"\0" + len(message).to_bytes(4, "big") + message, GRPC_WEB, headers)
            )
        return json_format.MessageToDict(reply_type.FromString(body))

    def _post(self, method: str, body: bytes, content_type: str, headers: dict[str, str] | None) -> bytes:
        sent = {"Connect-Protocol-Version": "1", **(headers or {})}
        named = {name.replace("-", "_"): value for name, value in sent.items()}
        reply = self.server.query_raw(method, body, content_type, **named)
        assert reply.status == 200, reply.body
        assert reply.headers["content-type"].partition(";")[0] == content_type
        return reply.body

    def _call(self, method: str, body: bytes, headers: dict[str, str] | None) -> bytes:
        options = [("grpc.max_receive_message_length", 64 << 20)]
        with grpc.insecure_channel(f"{self.server.host}:{self.server.port}", options) as channel:
            call = channel.unary_unary(f"/querier.v1.QuerierService/{method}")
            metadata = [(name.lower(), value) for name, value in (headers or {}).items()]
            return bytes(call(body, timeout=DEADLINE_S, metadata=metadata))


def _message_of(frames: bytes) -> bytes:
    """Take the message out of an answer of gRPC-Web, whose trailers must say that all is well."""
    length = int.from_bytes(frames[1:5], "big")
    assert frames[0] == 0
    assert frames[5 + length] == 0x80
    assert b"grpc-status:0\r\n" in frames[5 + length :]
    return frames[5 : 5 + length]


@pytest.fixture(params=[JSON, PROTO, GRPC, GRPC_WEB], ids=["json", "proto", "grpc", "grpc-web"])
def client(server: ServerProcess, request: pytest.FixtureRequest) -> Client:
    return Client(server, request.param)


def push(server: ServerProcess, service: str, time_ms: int) -> str:
    identity = str(uuid.uuid4())
    profile = make_profile(
        {"main;handle": 30, "main;idle": 10},
        time_ns=time_ms * 10**6,
        labels={"main;handle": {"span_id": SPAN, "trace_id": TRACE}},
    )
    sent = make_push(service, profile, ids=[identity], **{"k8s.pod": "p-1", "region": "eu"})
    assert server.push(sent).status == 200
    return identity


def selection(service: str, time_ms: int) -> dict[str, Any]:
    return {
        "profileTypeID": CPU,
        "labelSelector": f'{{service_name="{service}"}}',
        "start": str(time_ms - 60_000),
        "end": str(time_ms + 60_000),
    }


def total_of(series: dict[str, Any]) -> float:
    return float(sum(point["value"] for one in series["series"] for point in one["points"]))


def test_the_data_sources_calls(client: Client) -> None:
    """Health check, query editor, metrics, profile, exemplar, span: of grafana-pyroscope-datasource."""
    time_ms, service = now_ms() - 5000, f"grafana-{uuid.uuid4()}"
    identity = push(client.server, service, time_ms)
    chosen = selection(service, time_ms)
    span = {"start": chosen["start"], "end": chosen["end"]}
    matchers = [chosen["labelSelector"]]
    kinds = {one["ID"]: one for one in client.ask("ProfileTypes", **span)["profileTypes"]}
    assert kinds[CPU]["sampleUnit"] == "nanoseconds"
    names = client.ask("LabelNames", matchers=matchers, **span)["names"]
    assert {"region", "service_name", "__profile_type__"} <= set(names)
    assert "k8s.pod" not in names
    assert client.ask("LabelValues", name="region", matchers=matchers, **span)["names"] == ["eu"]
    metrics = client.ask("SelectSeries", **chosen, step=15, groupBy=["region"], limit="10")
    assert total_of(metrics) == 40
    assert metrics["series"][0]["labels"] == [{"name": "region", "value": "eu"}]
    graph = client.ask("SelectMergeStacktraces", **chosen, maxNodes="16384")["flamegraph"]
    assert (graph["total"], graph["names"][0]) == ("40", "total")
    exemplars = client.ask("SelectSeries", **chosen, step=15, exemplarType="EXEMPLAR_TYPE_INDIVIDUAL")
    points = [point for line in exemplars["series"] for point in line["points"]]
    (exemplar,) = [one for point in points for one in point["exemplars"]]
    assert exemplar["profileId"] == identity
    of_profile = client.ask("SelectMergeStacktraces", **chosen, profileIdSelector=[identity])
    assert of_profile["flamegraph"]["total"] == "40"
    sites = {"callSite": [{"name": "main"}, {"name": "handle"}]}
    of_site = client.ask("SelectMergeStacktraces", **chosen, stackTraceSelector=sites)
    assert of_site["flamegraph"]["total"] == "30"
    for method in ("SelectMergeStacktraces", "SelectMergeSpanProfile"):
        assert client.ask(method, **chosen, spanSelector=[SPAN])["flamegraph"]["total"] == "30"
    heat = client.ask(
        "SelectHeatmap",
        **chosen,
        step=15,
        queryType="HEATMAP_QUERY_TYPE_SPAN",
        exemplarType="EXEMPLAR_TYPE_SPAN",
    )
    (slot,) = heat["series"][0]["slots"]
    assert sum(slot["counts"]) == 1
    assert (slot["exemplars"][0]["spanId"], slot["exemplars"][0]["traceId"]) == (SPAN, TRACE)


def test_drilldowns_calls(client: Client) -> None:
    """Services, labels, comparison, functions, sandwich, pprof: of profiles-drilldown."""
    time_ms, service = now_ms() - 5000, f"drilldown-{uuid.uuid4()}"
    push(client.server, service, time_ms)
    chosen = selection(service, time_ms)
    span = {"start": chosen["start"], "end": chosen["end"]}
    typed = f'{{__profile_type__="{CPU}", service_name="{service}"}}'
    accept = {"Accept": UTF8}
    pairs = client.ask("Series", accept, labelNames=["service_name", "__profile_type__"], **span)
    wanted = [{"name": "__profile_type__", "value": CPU}, {"name": "service_name", "value": service}]
    assert {"labels": wanted} in pairs["labelsSet"]
    assert "k8s.pod" in client.ask("LabelNames", accept, matchers=[typed], **span)["names"]
    assert client.ask("LabelValues", accept, name="k8s.pod", matchers=[typed], **span)["names"] == ["p-1"]
    functions = client.ask("SelectMergeStacktraces", **chosen, format="PROFILE_FORMAT_FUNCTIONS")["functions"]
    assert (functions["total"], functions["functions"][0]["name"]) == ("40", "handle")
    sandwich = client.ask(
        "SelectMergeStacktraces", **chosen, format="PROFILE_FORMAT_SANDWICH", sandwichFunction="handle"
    )["sandwich"]
    assert (sandwich["total"], sandwich["self"]) == ("30", "30")
    both = {"left": chosen, "right": {**chosen, "labelSelector": '{region="none"}'}}
    diff = client.ask("Diff", **both)["flamegraph"]
    assert (diff["leftTicks"], diff.get("rightTicks", "0")) == ("40", "0")
    changed = client.ask("Diff", **both, format="PROFILE_FORMAT_FUNCTIONS", maxNodes="5")["functions"]
    assert changed["leftTotal"] == "40"
    profile = client.ask("SelectMergeProfile", **chosen)
    assert sorted(int(sample["value"][0]) for sample in profile["sample"]) == [10, 30]
    shape = {"goPgo": {"keepLocations": 1, "aggregateCallees": True}}
    shaped = client.ask("SelectMergeProfile", **chosen, stackTraceSelector=shape)
    assert {len(sample["locationId"]) for sample in shaped["sample"]} == {1}
    stats = client.ask("GetProfileStats")
    assert int(stats["oldestProfileTime"]) <= time_ms <= int(stats["newestProfileTime"])
    cost = client.ask("AnalyzeQuery", **span, query=CPU + chosen["labelSelector"])
    assert int(cost["queryImpact"]["totalQueriedSeries"]) == 1


def test_drilldowns_older_calls(server: ServerProcess) -> None:
    """The comparison of /pyroscope/render-diff, with milliseconds and max-nodes."""
    time_ms, service = now_ms() - 5000, "drilldown-render"
    push(server, service, time_ms)
    query = f'{CPU}{{service_name="{service}"}}'
    parameters = {
        "leftQuery": query, "leftFrom": time_ms - 60_000, "leftUntil": time_ms + 60_000,
        "rightQuery": query, "rightFrom": time_ms - 120_000, "rightUntil": time_ms - 60_001,
        "max-nodes": 16384,
    }  # fmt: skip
    reply = server.ask("GET", "/pyroscope/render-diff?" + urlencode(parameters)).json()
    assert (reply["leftTicks"], reply["rightTicks"]) == (40, 0)
    assert reply["metadata"]["format"] == "double"
    assert len(reply["flamebearer"]["levels"][0]) == 7


@pytest.mark.parametrize(
    "selector",
    [
        '{service_name="%s"}',
        '{service_name=~"%s"}',
        '{region="eu"}',
        '{region!="us", service_name="%s"}',
        '{"k8s.pod"="p-1"}',
        '{k8s.pod=~"p-.*"}',
        '{absent=""}',
        "{}",
        "process_cpu{}",
    ],
)
def test_a_push_is_seen_at_once_whatever_the_selector(client: Client, selector: str) -> None:
    service = f"at-once-{uuid.uuid4()}"
    text = selector.replace("%s", service)
    for count in (1, 2):
        time_ms = now_ms() - 5000
        identity = push(client.server, service, time_ms)
        chosen = {**selection(service, time_ms), "labelSelector": text}
        of_profile = client.ask("SelectMergeStacktraces", **chosen, profileIdSelector=[identity])
        assert of_profile["flamegraph"]["total"] == "40"
        assert total_of(client.ask("SelectSeries", **chosen, step=15)) >= 40 * count
        values = client.ask("LabelValues", name="service_name", matchers=[text], start="1", end=chosen["end"])
        assert service in values["names"]


def test_a_large_answer_is_whole_in_every_codec(client: Client) -> None:
    time_ms, service = now_ms() - 5000, f"large-{uuid.uuid4()}"
    names = [f"{number:05}{'x' * 60}" for number in range(6000)]
    profile = make_profile({f"main;{name}": 1 for name in names}, time_ns=time_ms * 10**6)
    assert client.server.push(make_push(service, profile)).status == 200
    fields = {**selection(service, time_ms), "maxNodes": "10000"}
    graph = client.ask("SelectMergeStacktraces", **fields)["flamegraph"]
    assert graph["names"] == ["total", "main", *names]
