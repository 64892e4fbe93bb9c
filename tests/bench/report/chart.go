package report

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
)

const (
	chartWidth = 900
	margin     = 12
	barHeight  = 13
	rowGap     = 10
	lineHeight = 17
	barLeft    = 120
	barMost    = chartWidth - barLeft - 110
)

// colours are those of the columns, ours first; references are grey.
func colours() color.Palette {
	return color.Palette{
		color.White, color.Black,
		color.Gray{0xa0},
		color.Gray{0x60},
		color.Gray{0xd0},
		color.RGBA{0x1b, 0x7f, 0x5c, 0xff},
		color.RGBA{0xc9, 0x6a, 0x1f, 0xff},
		color.RGBA{0xe3, 0xa8, 0x57, 0xff},
		color.RGBA{0x5b, 0x6f, 0xb5, 0xff},
	}
}

// chart is a picture while it is drawn.
type chart struct {
	img  *image.Paletted
	face font.Face
	y    int
}

// Chart draws the medians of one group as bars, those of a row as parts of its slowest, and returns a PNG; nil if there is nothing to draw.
func Chart(run Run, group string) ([]byte, error) {
	parsed, err := opentype.Parse(goregular.TTF)
	if err != nil {
		return nil, err
	}
	face, err := opentype.NewFace(parsed, &opentype.FaceOptions{Size: 12, DPI: 72, Hinting: font.HintingFull})
	if err != nil {
		return nil, err
	}
	defer face.Close()
	height, columns := lineHeight+2*margin, run.columns(group)
	for _, r := range run.Rows {
		if n := r.drawn(group, columns); n > 0 {
			height += lineHeight + n*barHeight + rowGap
		}
	}
	if height == lineHeight+2*margin {
		return nil, nil
	}
	c := &chart{img: image.NewPaletted(image.Rect(0, 0, chartWidth, height), colours()), face: face, y: margin}
	draw.Draw(c.img, c.img.Bounds(), image.White, image.Point{}, draw.Src)
	c.text(margin, group+": seconds, less is better")
	c.y += lineHeight
	for _, r := range run.Rows {
		if r.drawn(group, columns) > 0 {
			c.row(r, columns)
		}
	}
	var out bytes.Buffer
	encoder := png.Encoder{CompressionLevel: png.BestCompression}
	if err := encoder.Encode(&out, c.img); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// drawn is how many bars a row has.
func (r *Row) drawn(group string, columns []Subject) (n int) {
	if r.Group != group {
		return 0
	}
	for _, s := range columns {
		if r.Cells[s.Name].good() {
			n++
		}
	}
	return n
}

func (c *chart) row(r *Row, columns []Subject) {
	c.text(margin, r.title())
	c.y += lineHeight
	most := 0.0
	for _, s := range columns {
		if cell := r.Cells[s.Name]; cell.good() {
			most = math.Max(most, Median(cell.Seconds))
		}
	}
	peer := 0
	for i, s := range columns {
		if !s.Ours && !s.Reference {
			peer++
		}
		cell := r.Cells[s.Name]
		if !cell.good() {
			continue
		}
		v := Median(cell.Seconds)
		width := max(1, int(v/most*barMost))
		bar := image.Rect(barLeft, c.y+1, barLeft+width, c.y+barHeight-1)
		draw.Draw(c.img, bar, image.NewUniform(fill(s, i, peer)), image.Point{}, draw.Src)
		c.text(margin, s.Name)
		about := ""
		if cell.Cut {
			about = "about "
		}
		c.text(barLeft+width+5, fmt.Sprintf("%s%s s", about, figure(v)))
		c.y += barHeight
	}
	c.y += rowGap
}

// fill is the colour of a bar.
func fill(s Subject, column, peer int) color.Color {
	all := colours()
	switch {
	case s.Ours:
		return all[5]
	case s.Reference:
		return all[2+column%3]
	}
	return all[6+(peer-1)%3]
}

// text writes at the height of the current line.
func (c *chart) text(x int, text string) {
	d := font.Drawer{Dst: c.img, Src: image.Black, Face: c.face, Dot: fixed.P(x, c.y+barHeight-3)}
	d.DrawString(text)
}
