package job

// Counts say how items ended.
type Counts struct {
	Succeeded int `json:"succeeded"`
	Failed    int `json:"failed"`
	Cancelled int `json:"cancelled"`
}

// Total is how many have ended.
func (c Counts) Total() int { return c.Succeeded + c.Failed + c.Cancelled }

func (c Counts) plus(o Counts) Counts {
	return Counts{c.Succeeded + o.Succeeded, c.Failed + o.Failed, c.Cancelled + o.Cancelled}
}

// of adds one that ended so.
func (c *Counts) of(f Fate) {
	switch f {
	case Succeeded:
		c.Succeeded++
	case Failed:
		c.Failed++
	case Cancelled:
		c.Cancelled++
	}
}

// better says which of two accounts of one part counts: that with more outputs,
// which beat failures, which beat cancels.
func (c Counts) better(o Counts) bool {
	if c.Succeeded != o.Succeeded {
		return c.Succeeded > o.Succeeded
	}
	return c.Failed > o.Failed
}

// tally counts the items of verdicts, each once and by its best fate.
type tally map[int]Fate

func (t tally) add(v Verdict) {
	if was, ok := t[v.Item]; !ok || v.Fate < was {
		t[v.Item] = v.Fate
	}
}

func (t tally) counts() Counts {
	var c Counts
	for _, fate := range t {
		c.of(fate)
	}
	return c
}
