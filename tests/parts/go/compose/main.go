// Loads a Compose file as `docker compose config` does, by the library that Docker Compose itself is made
// of: schema, interpolation, references between services. Prints the project as JSON, with the services of
// every profile; what is wrong goes to standard error, exit code 1.
//
//	compose FILE            a Compose file; variables come from the environment
//	compose --yaml FILE     any YAML file, as it is
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
	"go.yaml.in/yaml/v4"
)

func main() {
	loaded, err := load(os.Args[1:])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(loaded)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func load(arguments []string) (any, error) {
	switch {
	case len(arguments) == 1:
		options, err := cli.NewProjectOptions(arguments, cli.WithOsEnv, cli.WithProfiles([]string{"*"}))
		if err != nil {
			return nil, err
		}
		return options.LoadProject(context.Background())
	case len(arguments) == 2 && arguments[0] == "--yaml":
		text, err := os.ReadFile(arguments[1])
		if err != nil {
			return nil, err
		}
		var document any
		return document, yaml.Unmarshal(text, &document)
	}
	return nil, fmt.Errorf("usage: compose [--yaml] FILE")
}
