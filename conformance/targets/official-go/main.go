// The conformance testee of pyroscope-go: contract v1, one JSON object a line.
//
// Work is measured by the thread's CPU clock; a goroutine that works is bound to its thread.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/grafana/pyroscope-go"
)

const (
	threadClock  = 3 // CLOCK_THREAD_CPUTIME_ID
	processClock = 2 // CLOCK_PROCESS_CPUTIME_ID
	sliceNs      = 2_000_000
)

type object = map[string]any

type scope struct {
	ctx    context.Context
	tags   map[string]string
	thread string
	yield  bool
}

type stepKey struct{ function, thread, tags string }

var (
	config   object
	profiler *pyroscope.Profiler
	mutex    sync.Mutex
	truth    = map[stepKey]int64{}
)

func clockNs(clock uintptr) int64 {
	var spec syscall.Timespec
	syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&spec)), 0)
	return spec.Nano()
}

func say(event string, fields object) {
	fields["event"] = event
	line, _ := json.Marshal(fields)
	os.Stdout.Write(append(line, '\n'))
}

// One function for each name, so that profiles can tell them apart; each is the leaf of its own work.

//go:noinline
func work_a(untilNs int64) {
	for number := 1; clockNs(threadClock) < untilNs; {
		for range 200_000 {
			number = number * 7 % 1_000_003
		}
	}
}

//go:noinline
func work_b(untilNs int64) {
	for number := 1; clockNs(threadClock) < untilNs; {
		for range 200_000 {
			number = number * 7 % 1_000_003
		}
	}
}

//go:noinline
func work_c(untilNs int64) {
	for number := 1; clockNs(threadClock) < untilNs; {
		for range 200_000 {
			number = number * 7 % 1_000_003
		}
	}
}

//go:noinline
func work_d(untilNs int64) {
	for number := 1; clockNs(threadClock) < untilNs; {
		for range 200_000 {
			number = number * 7 % 1_000_003
		}
	}
}

//go:noinline
func work_e(untilNs int64) {
	for number := 1; clockNs(threadClock) < untilNs; {
		for range 200_000 {
			number = number * 7 % 1_000_003
		}
	}
}

//go:noinline
func work_f(untilNs int64) {
	for number := 1; clockNs(threadClock) < untilNs; {
		for range 200_000 {
			number = number * 7 % 1_000_003
		}
	}
}

//go:noinline
func work_g(untilNs int64) {
	for number := 1; clockNs(threadClock) < untilNs; {
		for range 200_000 {
			number = number * 7 % 1_000_003
		}
	}
}

//go:noinline
func work_deep(left int, then func()) {
	if left > 0 {
		work_deep(left-1, then)
		runtime.KeepAlive(left)
		return
	}
	then()
}

var functions = map[string]func(int64){
	"work_a": work_a, "work_b": work_b, "work_c": work_c, "work_d": work_d, "work_e": work_e, "work_f": work_f,
	"work_g": work_g,
}

func text(value any) string {
	if number, ok := value.(float64); ok {
		return fmt.Sprint(int64(number))
	}
	return fmt.Sprint(value)
}

func texts(value any) map[string]string {
	found := map[string]string{}
	if pairs, ok := value.(object); ok {
		for key, one := range pairs {
			found[key] = text(one)
		}
	}
	return found
}

func start() error {
	options := pyroscope.Config{
		ApplicationName: text(config["service_name"]),
		ServerAddress:   text(config["server_url"]),
		Tags:            texts(config["tags"]),
		HTTPHeaders:     texts(config["http_headers"]),
		ProfileTypes:    []pyroscope.ProfileType{pyroscope.ProfileCPU},
	}
	for key, value := range config {
		switch key {
		case "upload_interval_s":
			options.UploadRate = time.Duration(value.(float64) * float64(time.Second))
		case "sample_rate_hz":
			options.SampleRate = uint32(value.(float64))
		case "tenant_id":
			options.TenantID = text(value)
		case "basic_auth_user":
			options.BasicAuthUser = text(value)
		case "basic_auth_password":
			options.BasicAuthPassword = text(value)
		case "auth_token":
			options.HTTPHeaders["Authorization"] = "Bearer " + text(value)
		case "service_name", "server_url", "tags", "http_headers", "shutdown_timeout_s", "transport":
		default:
			say("unsupported", object{"feature": key})
			os.Exit(0)
		}
	}
	var err error
	profiler, err = pyroscope.Start(options)
	return err
}

func run(steps any, in scope) {
	var threads sync.WaitGroup
	for _, step := range steps.([]any) {
		for verb, value := range step.(object) {
			arguments := value.(object)
			switch verb {
			case "busy":
				busy(text(arguments["function"]), int64(arguments["cpu_ms"].(float64))*1_000_000, in)
			case "sleep":
				time.Sleep(time.Duration(arguments["ms"].(float64)) * time.Millisecond)
			case "recurse":
				runtime.LockOSThread()
				before := clockNs(threadClock)
				work_deep(int(arguments["depth"].(float64)), func() { run(arguments["steps"], in) })
				told("work_deep", in, clockNs(threadClock)-before)
				runtime.UnlockOSThread()
			case "thread":
				threads.Go(func() {
					run(arguments["steps"], scope{context.Background(), nil, text(arguments["name"]), false})
				})
			case "tasks":
				var tasks sync.WaitGroup
				for _, list := range arguments["lists"].([]any) {
					tasks.Go(func() { run(list, scope{in.ctx, in.tags, in.thread, true}) })
				}
				tasks.Wait()
			case "tag":
				tag(text(arguments["key"]), text(arguments["value"]), arguments["steps"], in)
			case "repeat":
				for range int(arguments["times"].(float64)) {
					run(arguments["steps"], in)
				}
			case "session":
				session(text(arguments["action"]))
			default:
				say("unsupported", object{"feature": verb})
				os.Exit(0)
			}
		}
	}
	threads.Wait()
}

func busy(function string, leftNs int64, in scope) {
	work := functions[function]
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for leftNs > 0 {
		before := clockNs(threadClock)
		work(before + min(leftNs, sliceNs))
		spent := clockNs(threadClock) - before
		leftNs -= spent
		told(function, in, spent)
		if in.yield {
			runtime.Gosched()
		}
	}
}

func told(function string, in scope, ns int64) {
	if in.tags == nil {
		in.tags = map[string]string{}
	}
	tags, _ := json.Marshal(in.tags)
	mutex.Lock()
	truth[stepKey{function, in.thread, string(tags)}] += ns
	mutex.Unlock()
}

func tag(key, value string, steps any, in scope) {
	inner := scope{tags: map[string]string{key: value}, thread: in.thread, yield: in.yield}
	for name, one := range in.tags {
		if name != key {
			inner.tags[name] = one
		}
	}
	pyroscope.TagWrapper(in.ctx, pyroscope.Labels(key, value), func(ctx context.Context) {
		inner.ctx = ctx
		run(steps, inner)
	})
}

func session(action string) {
	var err error
	switch action {
	case "start":
		err = start()
	case "stop":
		err = profiler.Stop()
	case "flush":
		profiler.Flush(true)
	}
	if err != nil {
		failed("workload", err)
	}
}

func failed(stage string, err error) {
	say("error", object{"stage": stage, "message": err.Error()})
	os.Exit(0)
}

func main() {
	var request struct {
		Config     object `json:"config"`
		Workload   []any  `json:"workload"`
		Finish     string `json:"finish"`
		DeadlineMs int    `json:"deadline_ms"`
	}
	reader := bufio.NewReader(os.Stdin)
	line, _ := reader.ReadBytes('\n')
	if err := json.Unmarshal(line, &request); err != nil {
		failed("configure", err)
	}
	config = request.Config
	startedNs, startedCPU := time.Now().UnixNano(), clockNs(processClock)
	say("ready", object{
		"sdk": "pyroscope-go", "sdk_version": "1.4.3", "runtime": runtime.Version(), "pid": os.Getpid(),
		"started_unix_ns": startedNs,
	})
	if err := start(); err != nil {
		failed("start", err)
	}
	run(any(request.Workload), scope{ctx: context.Background(), thread: "main"})
	steps := []object{}
	for key, ns := range truth {
		tags := object{}
		json.Unmarshal([]byte(key.tags), &tags)
		steps = append(steps, object{"function": key.function, "thread": key.thread, "cpu_ns": ns, "tags": tags})
	}
	say("truth", object{
		"pid": os.Getpid(), "steps": steps, "process_cpu_ns": clockNs(processClock) - startedCPU,
		"started_unix_ns": startedNs, "ended_unix_ns": time.Now().UnixNano(),
	})
	switch request.Finish {
	case "sigterm":
		time.Sleep(time.Duration(request.DeadlineMs) * time.Millisecond)
	case "stop":
		if err := profiler.Stop(); err != nil {
			failed("flush", err)
		}
		say("flushed", object{})
	}
}
