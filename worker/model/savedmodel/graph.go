package savedmodel

import (
	"slices"
	"strings"

	nodepb "github.com/galeone/tensorflow/tensorflow/go/core/framework/node_def_go_proto"
	corepb "github.com/galeone/tensorflow/tensorflow/go/core/protobuf/for_core_protos_go_proto"
)

// graph is a graph by the names of its nodes.
type graph struct {
	nodes      map[string]*nodepb.NodeDef
	operations int
}

func newGraph(meta *corepb.MetaGraphDef) *graph {
	def := meta.GetGraphDef()
	g := &graph{nodes: make(map[string]*nodepb.NodeDef, len(def.GetNode())), operations: len(def.GetNode())}
	for _, n := range def.GetNode() {
		g.nodes[n.GetName()] = n
	}
	for _, f := range def.GetLibrary().GetFunction() {
		g.operations += len(f.GetNodeDef())
	}
	return g
}

// reach gives the names of the nodes that are run for those named: their
// inputs, and theirs, control inputs too.
func (g *graph) reach(names ...string) map[string]bool {
	seen := make(map[string]bool)
	for rest := slices.Clone(names); len(rest) > 0; {
		name := rest[len(rest)-1]
		rest = rest[:len(rest)-1]
		if seen[name] {
			continue
		}
		seen[name] = true
		for _, in := range g.nodes[name].GetInput() {
			rest = append(rest, nodeOf(in))
		}
	}
	return seen
}

// nodeOf is the node of an input: that of "op:1" and "^op" is op.
func nodeOf(input string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(input, "^"), ":")
	return name
}

// variables picks those among nodes that are variables.
func (g *graph) variables(nodes map[string]bool) []*nodepb.NodeDef {
	var list []*nodepb.NodeDef
	for name := range nodes {
		switch n := g.nodes[name]; n.GetOp() {
		case "VarHandleOp", "VariableV2", "Variable":
			list = append(list, n)
		}
	}
	return list
}

func count(variables []*nodepb.NodeDef) Variables {
	v := Variables{Count: len(variables)}
	for _, n := range variables {
		shape := n.GetAttr()["shape"].GetShape()
		elements := int64(1)
		for _, d := range shape.GetDim() {
			elements *= d.GetSize()
		}
		if shape == nil || shape.GetUnknownRank() || elements < 0 {
			v.Unknown++
			continue
		}
		v.Elements += elements
	}
	return v
}

// unrestored gives the names of those variables that nothing in the graph can
// give a value: not what restores the checkpoint, no initialisation and no
// assignment. A signature that reads one fails.
func (g *graph) unrestored(meta *corepb.MetaGraphDef, variables []*nodepb.NodeDef) []string {
	from := []string{nodeOf(meta.GetSaverDef().GetRestoreOpName())}
	for name, def := range meta.GetSignatureDef() {
		if strings.HasPrefix(name, "__saved_model_") {
			for _, t := range def.GetOutputs() {
				from = append(from, nodeOf(t.GetName()))
			}
		}
	}
	for _, collection := range meta.GetCollectionDef() { // TensorFlow 1's "legacy_init_op" among them
		for _, name := range collection.GetNodeList().GetValue() {
			from = append(from, nodeOf(name))
		}
	}
	given := g.reach(from...)
	for _, n := range g.nodes {
		if strings.HasPrefix(n.GetOp(), "Assign") && len(n.GetInput()) > 0 {
			given[nodeOf(n.GetInput()[0])] = true
		}
	}
	var lost []string
	for _, n := range variables {
		if !given[n.GetName()] {
			lost = append(lost, n.GetName())
		}
	}
	return lost
}
