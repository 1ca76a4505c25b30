// Package job keeps the books of batch jobs: one model over a prefix of
// objects, a manifest of them, or files of many records.
//
// A job is divided into parts; a part is what one message holds: a pack of
// references to objects, or a range of bytes of one record file. The requests
// in a pack are its items, and a range is an item too. A thousand parts are a
// group. There is no coordinator and no database: whoever does something
// writes it down below <state>/jobs/<job id>/, under a key that two can't both
// take, and who writes down the last thing that was missing does what comes
// next.
//
//	job.json                   the Spec; PUT new
//	plan/<first part>          a page: up to 1,000 items; PUT new, before any of it is sent
//	plan/sealed                how many parts there are; PUT new
//	sent/<first part>          all messages of the page are in the queue
//	items/<part>/<item>-<fate> an item of a part whose items travelled apart
//	done/<group>/<part>-…      a part that is done, and how its items ended
//	groups/<group>             a group that is done, and its sum; PUT new
//	chunks/<part>/<seq>        results of a range, as far as it is done; PUT new
//	cancel                     nothing more is to be started
//	summary.json               how the job ended; PUT new
//
// The planner (Plan) lists what there is to do, writes pages and sends
// messages. Workers call Books.Settled before they acknowledge a message of a
// job; the one whose part was the last missing one of all puts the outputs of
// record files together and writes the summary. Every step may be done twice
// and by two at once, and none is forgotten: a message is acknowledged when
// all that follows from it is written.
//
// To read it: spec.go is what a job is, page.go how it is divided, and layout.go
// the keys. plan.go makes pages of what walk.go and manifest.go find, by way of
// pager.go and, for record files, split.go, and sends them. books.go is what workers
// ask and tell, and finish.go what follows from it, up to the summary; assemble.go
// with pieces.go and joiner.go puts record files together of chunks.go. What comes
// between is in cancel.go, resume.go and undone.go, and what people ask in
// standing.go, failures.go and estimate.go.
//
// What a message says of its job is request.Request.Job: the job's id, the
// part's number and how many items it has, the item's own number, and of a range
// its first byte, the first byte behind it, and for CSV the length of the
// file's first record (Header), which is the header if the file has one and
// which a range that begins later reads beside its own bytes. The file's ETag is
// the request's. All else is in the Spec.
package job
