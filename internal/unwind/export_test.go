package unwind

import "fmt"

// Columns is how many columns a row has.
const Columns = columns

// FDEs returns the table's ranges, sorted.
func (t *Table) FDEs() []FDE { return t.fdes }

// Row is what a table says about one address.
type Row struct {
	Expr bool            // the CFA is given by an expression, else
	CFA  uint64          // it is what this column holds
	Off  int64           // plus so many bytes
	Cols [columns]string // the rules as readelf writes them; "u" where there is none
	RA   uint64          // the return address's column
}

// RowAt returns the row for pc.
func (t *Table) RowAt(f FDE, pc uint64) (Row, error) {
	r, err := t.rowAt(&f, pc)
	if err != nil {
		return Row{}, err
	}
	row := Row{Expr: r.cfa.how == expression, CFA: uint64(r.cfa.n), Off: r.off, RA: t.cies[f.cie].ra}
	for i, c := range r.cols {
		row.Cols[i] = map[how]string{
			unspecified: "u", undefined: "u", same: "s", offset: fmt.Sprintf("c%+d", c.n), valOffset: fmt.Sprintf("v%+d", c.n),
			inRegister: fmt.Sprintf("r%d", c.n), expression: "exp", valExpression: "vexp",
		}[c.how]
	}
	return row, nil
}
