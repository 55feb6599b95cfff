// Package pipeline changes records on their way from a monitor to the sinks:
// it parses, filters, joins, redacts and routes them.
//
// A Table holds the pipelines of a configuration, and says which one a source
// goes through. A Pipeline is a list of stages, compiled once from their
// options and immutable from then on. A Run is the use of a Pipeline for one
// source; it holds what stages remember of it (half a stack trace, the budget
// of a limit) and belongs to one goroutine at a time.
//
// It promises that
//   - stages run in the order in which they are written;
//   - a stage that fails loses no record: the record goes on as it was, with
//     the attribute pipeline_error, unless the stage's on_error says otherwise,
//     and the failure is counted by its reason;
//   - every event that goes in comes out, or is counted as dropped, or is one
//     of those that an event which came out covers (Event.Count);
//   - a stage's work on one line is bounded whatever the line is, and so is what
//     a stage remembers of a source;
//   - a record that a stage does not change costs no allocation there.
//
// It leaves to others where events come from, what becomes of their cursors and
// how a sink writes them.
package pipeline
