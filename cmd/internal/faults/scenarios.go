//go:build linux

package main

import (
	"net/http"
	"syscall"
	"time"

	"github.com/penstock/penstock/cmd/internal/faults/stage"
)

// scenarios are all trials, in the order of the table.
var scenarios = []scenario{
	{
		name: "kill", fault: "SIGKILL and SIGTERM under load", short: true,
		workers: 3, inputs: 2000,
		plan: func(p *plan) {
			signals := []syscall.Signal{}
			for range p.times(6, 2) {
				signals = append(signals, syscall.SIGKILL, syscall.SIGTERM)
			}
			p.dice.Shuffle(len(signals), func(i, j int) { signals[i], signals[j] = signals[j], signals[i] })
			for _, s := range signals {
				p.then(map[syscall.Signal]string{syscall.SIGKILL: "SIGKILL", syscall.SIGTERM: "SIGTERM"}[s], 0, kill(p.anyone(), s))
			}
		},
	},
	{
		name: "s3-gone", fault: "S3 gone: refusing, then silent", short: true,
		workers: 3, inputs: 1500,
		plan: func(p *plan) {
			p.then("refusing", p.seconds(30, 4), gone(s3Service, p.all()))
			p.then("silent", p.seconds(30, 4), silent(s3Service, p.all()))
		},
	},
	{
		name: "sqs-gone", fault: "SQS gone: refusing, then silent", short: true,
		workers: 3, inputs: 1500,
		plan: func(p *plan) {
			p.then("refusing", p.seconds(30, 4), gone(sqsService, p.all()))
			p.then("silent", p.seconds(30, 7), silent(sqsService, p.all()))
		},
	},
	{
		name: "cut-off", fault: "one worker cut off from S3 or SQS",
		workers: 3, inputs: 1500,
		plan: func(p *plan) {
			for range 2 {
				p.then("no SQS", 10*time.Second, gone(sqsService, []int{p.anyone()}))
				p.then("no S3", 10*time.Second, silent(s3Service, []int{p.anyone()}))
			}
		},
	},
	{
		name: "latency", fault: "2 s latency of every reply", short: true,
		workers: 3, inputs: 1000, settings: []string{"-visibility-timeout", "30s"},
		plan: func(p *plan) {
			p.then("S3", p.seconds(20, 5), late(s3Service, p.all(), 2000, 200))
			p.then("SQS", p.seconds(20, 5), late(sqsService, p.all(), 2000, 200))
		},
	},
	{
		name: "resets", fault: "connections reset, bodies cut", short: true,
		workers: 3, inputs: 1500,
		plan: func(p *plan) {
			p.then("resets", p.seconds(10, 3), reset(s3Service, p.all(), 0.3))
			p.then("resets", p.seconds(10, 3), reset(sqsService, p.all(), 0.3))
			p.then("inputs cut", p.seconds(10, 3), spoiltCalls(s3Service, method(http.MethodGet), 0.3, stage.CutReply))
			p.then("writes cut", p.seconds(10, 3), spoiltCalls(s3Service, method(http.MethodPut), 0.3, stage.CutRequest))
		},
	},
	{
		name: "storms", fault: "503 storms of S3, throttling by SQS", short: true,
		workers: 3, inputs: 1500,
		plan: func(p *plan) {
			p.then("503", p.seconds(20, 4), spoiltCalls(s3Service, nil, 0.6, stage.SlowDown))
			p.then("throttled", p.seconds(20, 4), spoiltCalls(sqsService, nil, 0.6, stage.Throttled))
		},
	},
	{
		name: "twice", fault: "every message delivered twice and more", short: true,
		workers: 3, inputs: 1500,
		plan: func(p *plan) {
			p.then("receives", p.seconds(15, 4), queueFaults(queueFault{Action: "ReceiveMessage", Kind: "duplicate", Count: many}))
		},
	},
	{
		name: "lost-replies", fault: "lost deletes, and lost replies", short: true,
		workers: 3, inputs: 1500,
		plan: func(p *plan) {
			p.then("deletes", p.seconds(10, 3), spoiltCalls(sqsService, action("DeleteMessage"), 0.5, stage.LoseRequest))
			p.then("delete replies", p.seconds(10, 3), spoiltCalls(sqsService, action("DeleteMessage"), 0.5, stage.LoseReply))
			p.then("receive replies", p.seconds(10, 3), spoiltCalls(sqsService, action("ReceiveMessage"), 0.5, stage.LoseReply))
			p.then("PUT replies", p.seconds(10, 3), spoiltCalls(s3Service, writes, 0.5, stage.LoseReply))
		},
	},
	{
		name: "expiry", fault: "visibility runs out while a batch waits", short: true,
		workers: 3, inputs: 1000, special: map[kind]int{slow: 12},
		plan: func(p *plan) {
			p.then("on extension", p.seconds(15, 4), queueFaults(queueFault{Action: "ChangeMessageVisibilityBatch", Kind: "expire", Count: many}))
			p.then("on receive", p.seconds(10, 3), queueFaults(queueFault{Action: "ReceiveMessage", Kind: "expire", Count: many}))
		},
	},
	{
		name: "zombie", fault: "SIGSTOP past the lease, then SIGCONT", short: true,
		workers: 3, inputs: 1500,
		plan: func(p *plan) {
			for range p.times(4, 1) {
				p.then("SIGSTOP", p.between(8*time.Second, 12*time.Second), freeze(p.anyone()))
			}
		},
	},
	{
		name: "records", fault: "large files of records: kills, outages, cuts", short: true,
		workers: 3, inputs: 600, special: map[kind]int{lines: 90, long: 12},
		plan: func(p *plan) {
			for range p.times(3, 1) {
				p.then("SIGKILL", 0, kill(p.anyone(), syscall.SIGKILL))
				p.then("SIGTERM", 0, kill(p.anyone(), syscall.SIGTERM))
			}
			p.then("S3 gone", p.seconds(10, 3), gone(s3Service, p.all()))
			p.then("inputs cut", p.seconds(10, 3), spoiltCalls(s3Service, method(http.MethodGet), 0.3, stage.CutReply))
			p.then("writes cut", p.seconds(10, 3), spoiltCalls(s3Service, writes, 0.3, stage.CutRequest))
			p.then("lost replies", p.seconds(10, 3), spoiltCalls(s3Service, writes, 0.3, stage.LoseReply))
			p.then("SIGSTOP", p.between(8*time.Second, 10*time.Second), freeze(p.anyone()))
		},
	},
	{
		name: "soft", fault: "inputs that fail softly", short: true,
		workers: 2, inputs: 1000, special: map[kind]int{refused: 40, broken: 10, missing: 10, expired: 10},
		plan: func(p *plan) { p.then("bad input", 0, nothing(70)) },
	},
	{
		name: "abort", fault: "an input that aborts the process", short: true,
		workers: 2, inputs: 500, special: map[kind]int{killer: 1},
		deaths: map[string]int{"signal: aborted": 4},
		plan:   func(p *plan) { p.then("aborting input", 0, nothing(1)) },
	},
	{
		name: "hang", fault: "an input that hangs", short: true,
		workers: 2, inputs: 500, special: map[kind]int{hanging: 1}, settings: []string{"-run-timeout", "5s"},
		deaths: map[string]int{"exit status 1": 3},
		plan:   func(p *plan) { p.then("hanging input", 0, nothing(1)) },
	},
	{
		name: "chaos", fault: "all of it at random, at the same time", short: true,
		workers: 3, inputs: 2000, special: map[kind]int{refused: 20, broken: 5, missing: 5, expired: 5, slow: 5, killer: 1, long: 2},
		deaths: map[string]int{"signal: aborted": 4}, copies: true,
		plan: chaos,
	},
}

// chaos throws every fault at the workers once or more, without regard to the
// others.
func chaos(p *plan) {
	most := p.seconds(60, 12)
	strike := func(times int, what string, lasts time.Duration, a func() act) {
		for range times {
			p.add(what, p.between(0, most), lasts, a())
		}
	}
	brief := p.seconds(8, 3)
	strike(p.times(3, 1), "SIGKILL", 0, func() act { return kill(p.anyone(), syscall.SIGKILL) })
	strike(p.times(3, 1), "SIGTERM", 0, func() act { return kill(p.anyone(), syscall.SIGTERM) })
	strike(1, "SIGSTOP", brief, func() act { return freeze(p.anyone()) })
	strike(1, "S3 gone", brief, func() act { return gone(s3Service, p.all()) })
	strike(1, "SQS gone", brief, func() act { return gone(sqsService, p.all()) })
	strike(1, "late", brief, func() act { return late(s3Service, []int{p.anyone()}, 500, 100) })
	strike(1, "resets", brief, func() act { return reset(sqsService, p.all(), 0.2) })
	strike(1, "503", brief, func() act { return spoiltCalls(s3Service, nil, 0.3, stage.SlowDown) })
	strike(1, "throttled", brief, func() act { return spoiltCalls(sqsService, nil, 0.3, stage.Throttled) })
	strike(1, "lost PUT replies", brief, func() act { return spoiltCalls(s3Service, writes, 0.2, stage.LoseReply) })
	strike(1, "lost receive replies", brief, func() act { return spoiltCalls(sqsService, action("ReceiveMessage"), 0.2, stage.LoseReply) })
	strike(1, "inputs cut", brief, func() act { return spoiltCalls(s3Service, method(http.MethodGet), 0.2, stage.CutReply) })
	strike(1, "delivered twice", brief, func() act {
		return queueFaults(queueFault{Action: "ReceiveMessage", Kind: "duplicate", Count: many})
	})
}

// many is all calls while a fault lasts.
const many = 1 << 20
