// checkpoints makes the empty SQLite table in which Sunlight keeps each log's latest checkpoint:
// Sunlight refuses to make it itself, lest a mistyped path fork a log.
//
//	checkpoints FILE
package main

import (
	"fmt"
	"os"

	"crawshaw.io/sqlite"
	"crawshaw.io/sqlite/sqlitex"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: checkpoints FILE")
		os.Exit(2)
	}
	if err := create(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "checkpoints:", err)
		os.Exit(1)
	}
}

func create(path string) error {
	db, err := sqlite.OpenConn(path, 0)
	if err != nil {
		return err
	}
	const table = "CREATE TABLE IF NOT EXISTS checkpoints (logID BLOB PRIMARY KEY, body BLOB NOT NULL) STRICT"
	if err := sqlitex.ExecTransient(db, table, nil); err != nil {
		db.Close()
		return err
	}
	return db.Close()
}
