// A program under the unmodified pyroscope-go SDK: burns CPU, allocates and contends, then stops.
//
// Usage: go run . SERVER_URL SERVICE_NAME
package main

import (
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/grafana/pyroscope-go"
)

var kept [][]byte

// spent returns the CPU time of this process in user mode.
func spent() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano())
}

func work(until time.Duration, lock *sync.Mutex) (total int) {
	for spent() < until {
		lock.Lock()
		for step := range 200_000 {
			total += step & 3
		}
		kept = append(kept, make([]byte, 4096))
		lock.Unlock()
	}
	return total
}

func main() {
	runtime.SetMutexProfileFraction(1)
	runtime.SetBlockProfileRate(1)
	profiler, err := pyroscope.Start(pyroscope.Config{
		ApplicationName: os.Args[2],
		ServerAddress:   os.Args[1],
		Tags:            map[string]string{"region": "eu"},
		UploadRate:      2 * time.Second,
		ProfileTypes: []pyroscope.ProfileType{
			pyroscope.ProfileCPU, pyroscope.ProfileAllocObjects, pyroscope.ProfileAllocSpace,
			pyroscope.ProfileInuseObjects, pyroscope.ProfileInuseSpace, pyroscope.ProfileGoroutines,
			pyroscope.ProfileMutexCount, pyroscope.ProfileMutexDuration, pyroscope.ProfileBlockCount,
			pyroscope.ProfileBlockDuration,
		},
	})
	if err != nil {
		panic(err)
	}
	var lock sync.Mutex
	var workers sync.WaitGroup
	until := spent() + 4*time.Second
	for range 3 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			work(until, &lock)
		}()
	}
	workers.Wait()
	if err := profiler.Stop(); err != nil {
		panic(err)
	}
}
