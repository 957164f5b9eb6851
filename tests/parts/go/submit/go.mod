// submit needs the standard library only.
module certsieve.test/submit

go 1.26.0
