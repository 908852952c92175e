package client

import (
	"slices"
	"strings"
	"sync"

	"fleetsim/wire"
)

// Documents holds the bundles of each agent's document in memory. Equal lists are held once, so
// that an agent costs four bytes.
type Documents struct {
	mutex  sync.Mutex
	lists  [][]wire.Bundle
	ids    map[string]uint32
	agents []uint32 // index into lists
}

// NewDocuments makes room for count agents.
func NewDocuments(count int) *Documents {
	return &Documents{
		lists: [][]wire.Bundle{nil}, ids: map[string]uint32{}, agents: make([]uint32, count),
	}
}

// Bundles returns the bundles of the agent's document, and whether it has one in memory.
func (d *Documents) Bundles(index int) ([]wire.Bundle, bool) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.lists[d.agents[index]], d.agents[index] != 0
}

// Put notes the bundles. It returns the names of those whose generation is lower than before.
func (d *Documents) Put(index int, bundles []wire.Bundle) []string {
	key := string(wire.JSON(bundles))
	d.mutex.Lock()
	defer d.mutex.Unlock()
	before := d.lists[d.agents[index]]
	id, isKnown := d.ids[key]
	if !isKnown {
		id = uint32(len(d.lists))
		d.lists = append(d.lists, bundles)
		d.ids[key] = id
	}
	d.agents[index] = id
	return lowered(before, bundles)
}

func lowered(before, after []wire.Bundle) []string {
	var names []string
	for _, old := range before {
		place, isThere := slices.BinarySearchFunc(after, old.Name, func(b wire.Bundle, name string) int {
			return strings.Compare(b.Name, name)
		})
		if isThere && after[place].Generation < old.Generation {
			names = append(names, old.Name)
		}
	}
	return names
}
