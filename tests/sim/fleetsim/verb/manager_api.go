package verb

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// listItem is the part of an object that check reads.
type listItem struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Status struct {
		ReportedAt string `json:"reportedAt"`
		Agent      struct {
			ID       string `json:"id"`
			Enrolled string `json:"enrolled"` // a time, "" for never
		} `json:"agent"`
	} `json:"status"`
}

// managerAPI reads lists from the API of people.
type managerAPI struct {
	ctx     context.Context
	options *options
	token   string
}

// list calls visit for every object of a kind, one after the other.
func (m *managerAPI) list(kind string, visit func(*listItem)) error {
	address := m.options.url + "/api/v1/objects/" + kind
	request, err := http.NewRequestWithContext(m.ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	request.Header.Set("authorization", "Bearer "+m.token)
	transport := &http.Transport{TLSClientConfig: m.options.agents.Dialer.Config()}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: HTTP %d", address, response.StatusCode)
	}
	decoder := json.NewDecoder(response.Body)
	for {
		token, err := decoder.Token()
		if err != nil {
			return errors.Join(fmt.Errorf("%s has no items", address), err)
		}
		if token == "items" {
			break
		}
	}
	if _, err := decoder.Token(); err != nil {
		return err
	}
	for decoder.More() {
		var item listItem
		if err := decoder.Decode(&item); err != nil {
			return err
		}
		visit(&item)
	}
	return nil
}
