// Asks a server by Grafana's own generated client, as its data source for Grafana and profilecli do.
//
//	go run . URL SERVICE
//
// Pushes a profile of SERVICE over push.v1, then calls the methods of the querier; ends with a line for each that
// did not answer as it must.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"
	profilev1 "github.com/grafana/pyroscope/api/gen/proto/go/google/v1"
	pushv1 "github.com/grafana/pyroscope/api/gen/proto/go/push/v1"
	"github.com/grafana/pyroscope/api/gen/proto/go/push/v1/pushv1connect"
	querierv1 "github.com/grafana/pyroscope/api/gen/proto/go/querier/v1"
	"github.com/grafana/pyroscope/api/gen/proto/go/querier/v1/querierv1connect"
	typesv1 "github.com/grafana/pyroscope/api/gen/proto/go/types/v1"
)

const cpu = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"

type checker struct{ failed int }

func (c *checker) check(name string, err error, ok bool) {
	if err == nil && ok {
		fmt.Println("ok", name)
		return
	}
	c.failed++
	fmt.Printf("FAIL %s: error %v\n", name, err)
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go run . URL SERVICE")
		os.Exit(2)
	}
	if failed := run(os.Args[1], os.Args[2]); failed > 0 {
		os.Exit(1)
	}
}

func run(url, service string) int {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	now := time.Now()
	start, end := now.Add(-time.Minute).UnixMilli(), now.Add(time.Minute).UnixMilli()
	selector := fmt.Sprintf("{service_name=%q}", service)
	var c checker
	pusher := pushv1connect.NewPusherServiceClient(http.DefaultClient, url)
	_, err := pusher.Push(ctx, connect.NewRequest(push(service, now)))
	c.check("Push", err, true)

	q := querierv1connect.NewQuerierServiceClient(http.DefaultClient, url)
	kinds, err := q.ProfileTypes(ctx, connect.NewRequest(&querierv1.ProfileTypesRequest{Start: start, End: end}))
	c.check("ProfileTypes", err, err == nil && len(kinds.Msg.ProfileTypes) > 0)
	names, err := q.LabelNames(ctx, connect.NewRequest(&typesv1.LabelNamesRequest{Matchers: []string{selector}, Start: start, End: end}))
	c.check("LabelNames", err, err == nil && len(names.Msg.Names) > 0)
	values, err := q.LabelValues(ctx, connect.NewRequest(&typesv1.LabelValuesRequest{Name: "service_name", Matchers: []string{selector}, Start: start, End: end}))
	c.check("LabelValues", err, err == nil && len(values.Msg.Names) == 1 && values.Msg.Names[0] == service)
	series, err := q.Series(ctx, connect.NewRequest(&querierv1.SeriesRequest{Matchers: []string{selector}, LabelNames: []string{"service_name"}, Start: start, End: end}))
	c.check("Series", err, err == nil && len(series.Msg.LabelsSet) == 1)

	stacks := &querierv1.SelectMergeStacktracesRequest{ProfileTypeID: cpu, LabelSelector: selector, Start: start, End: end}
	graph, err := q.SelectMergeStacktraces(ctx, connect.NewRequest(stacks))
	c.check("SelectMergeStacktraces", err, err == nil && graph.Msg.Flamegraph.Total == 40)
	asPprof := stacks.CloneVT()
	asPprof.Format = querierv1.ProfileFormat_PROFILE_FORMAT_PPROF
	pprof, err := q.SelectMergeStacktraces(ctx, connect.NewRequest(asPprof))
	c.check("SelectMergeStacktraces pprof", err, err == nil && len(pprof.Msg.Pprof.Profile.Sample) == 1)
	asDot := stacks.CloneVT()
	asDot.Format = querierv1.ProfileFormat_PROFILE_FORMAT_DOT
	dot, err := q.SelectMergeStacktraces(ctx, connect.NewRequest(asDot))
	c.check("SelectMergeStacktraces dot", err, err == nil && dot.Msg.Dot != "")
	merged, err := q.SelectMergeProfile(ctx, connect.NewRequest(&querierv1.SelectMergeProfileRequest{ProfileTypeID: cpu, LabelSelector: selector, Start: start, End: end}))
	c.check("SelectMergeProfile", err, err == nil && merged.Msg.Sample[0].Value[0] == 40)
	points, err := q.SelectSeries(ctx, connect.NewRequest(&querierv1.SelectSeriesRequest{ProfileTypeID: cpu, LabelSelector: selector, Start: start, End: end, Step: 15, GroupBy: []string{"service_name"}, ExemplarType: typesv1.ExemplarType_EXEMPLAR_TYPE_INDIVIDUAL}))
	c.check("SelectSeries", err, err == nil && len(points.Msg.Series) == 1 && points.Msg.Series[0].Points[0].Value == 40 && len(points.Msg.Series[0].Points[0].Exemplars) == 1)
	heat, err := q.SelectHeatmap(ctx, connect.NewRequest(&querierv1.SelectHeatmapRequest{ProfileTypeID: cpu, LabelSelector: selector, Start: start, End: end, Step: 15, QueryType: querierv1.HeatmapQueryType_HEATMAP_QUERY_TYPE_INDIVIDUAL}))
	c.check("SelectHeatmap", err, err == nil && len(heat.Msg.Series) == 1)
	diff, err := q.Diff(ctx, connect.NewRequest(&querierv1.DiffRequest{Left: stacks, Right: stacks}))
	c.check("Diff", err, err == nil && diff.Msg.Flamegraph.LeftTicks == 40 && diff.Msg.Flamegraph.RightTicks == 40)
	stats, err := q.GetProfileStats(ctx, connect.NewRequest(&typesv1.GetProfileStatsRequest{}))
	c.check("GetProfileStats", err, err == nil && stats.Msg.DataIngested)
	_, err = q.AnalyzeQuery(ctx, connect.NewRequest(&querierv1.AnalyzeQueryRequest{Start: start, End: end, Query: cpu + selector}))
	c.check("AnalyzeQuery", err, true)

	broken := stacks.CloneVT()
	broken.LabelSelector = "{"
	_, err = q.SelectMergeStacktraces(ctx, connect.NewRequest(broken))
	c.check("an error keeps its code", nil, connect.CodeOf(err) == connect.CodeInvalidArgument)
	return c.failed
}

func push(service string, now time.Time) *pushv1.PushRequest {
	profile := &profilev1.Profile{
		StringTable: []string{"", "cpu", "nanoseconds", "main", "main.go"},
		SampleType:  []*profilev1.ValueType{{Type: 1, Unit: 2}},
		PeriodType:  &profilev1.ValueType{Type: 1, Unit: 2},
		Period:      10_000_000,
		TimeNanos:   now.UnixNano(),
		Function:    []*profilev1.Function{{Id: 1, Name: 3, Filename: 4}},
		Location:    []*profilev1.Location{{Id: 1, Line: []*profilev1.Line{{FunctionId: 1, Line: 7}}}},
		Sample:      []*profilev1.Sample{{LocationId: []uint64{1}, Value: []int64{40}}},
	}
	raw, err := profile.MarshalVT()
	if err != nil {
		panic(err)
	}
	labels := []*typesv1.LabelPair{{Name: "__name__", Value: "process_cpu"}, {Name: "service_name", Value: service}}
	return &pushv1.PushRequest{Series: []*pushv1.RawProfileSeries{{Labels: labels, Samples: []*pushv1.RawSample{{RawProfile: raw}}}}}
}
