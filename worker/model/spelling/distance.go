// Package spelling finds what was probably meant by a name that there is none
// of, in model files and among settings.
package spelling

// Distance is how many letters (bytes) have to be put in, left out or changed
// to make b of a: Levenshtein's distance. It takes time as the product of their
// lengths.
func Distance(a, b string) int {
	row := make([]int, len(b)+1) // of the letters of a so far, to each beginning of b
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
