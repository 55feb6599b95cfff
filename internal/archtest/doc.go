// Package archtest holds the structure of the program: its tests parse the
// source and the documents and fail when these stray from the design.
//
// It owns the rules that the compiler does not check and that the linter, which
// sees one package at a time, cannot: where goroutines start, what may import
// what, that nobody sleeps, that packages say what they are for and look for
// leaked goroutines, and that the documents list what there is. A rule is a
// function from files to violations, and each has a positive control: a small
// source that breaks it and is seen to be caught.
//
// Whether the code is right is left to the tests beside it. The only code here
// that is not a test is what the tests of other packages call.
package archtest
