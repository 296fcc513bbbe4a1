// A loss curve as an SVG picture: two lines, a grid, and nothing that needs a script or a font.
#include <math.h>

#include "train/log.h"

enum { WIDTH = 900, HEIGHT = 420, LEFT = 64, RIGHT = 20, TOP = 40, BOTTOM = 48 };
#define INNER_WIDTH (WIDTH - LEFT - RIGHT)
#define INNER_HEIGHT (HEIGHT - TOP - BOTTOM)

typedef struct axes {
  double x0, x1, y0, y1;  // what the picture spans
} axes;

static double to_x(const axes *a, double step) { return LEFT + (step - a->x0) / (a->x1 - a->x0) * INNER_WIDTH; }
static double to_y(const axes *a, double loss) { return TOP + (a->y1 - loss) / (a->y1 - a->y0) * INNER_HEIGHT; }

// 1, 2 or 5 times a power of ten: about `n` of them in `span`.
static double nice_step(double span, int n) {
  double raw = span / n, power = pow(10, floor(log10(raw))), lead = raw / power;
  return power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
}

static void span_points(const orion_curve_point *p, size_t n, axes *a) {
  for (size_t i = 0; i < n; i++) {
    if (!isfinite(p[i].loss)) continue;
    a->x0 = fmin(a->x0, (double)p[i].step);
    a->x1 = fmax(a->x1, (double)p[i].step);
    a->y0 = fmin(a->y0, p[i].loss);
    a->y1 = fmax(a->y1, p[i].loss);
  }
}

static axes span(const orion_curve *c) {
  axes a = {INFINITY, -INFINITY, INFINITY, -INFINITY};
  span_points(c->train, c->n_train, &a);
  span_points(c->eval, c->n_eval, &a);
  if (!(a.x0 <= a.x1)) a = (axes){0, 1, 0, 1};
  if (a.x1 - a.x0 < 1) a.x1 = a.x0 + 1;
  double unit = nice_step(fmax(a.y1 - a.y0, 1e-3), 6);
  a.y0 = floor(a.y0 / unit) * unit;
  a.y1 = ceil(a.y1 / unit) * unit;
  if (a.y1 - a.y0 < unit) a.y1 = a.y0 + unit;
  return a;
}

static void grid(orion_strbuf *b, const axes *a) {
  double unit = nice_step(a->y1 - a->y0, 6);
  for (double y = ceil(a->y0 / unit) * unit; y <= a->y1 + unit / 1e6; y += unit) {
    orion_strbuf_addf(b, "<path d=\"M%d %.1fH%d\" stroke=\"#ddd\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n",
                      LEFT, to_y(a, y), WIDTH - RIGHT, LEFT - 8, to_y(a, y) + 4, fabs(y) < unit / 1e6 ? 0 : y);
  }
  unit = fmax(nice_step(a->x1 - a->x0, 8), 1);
  for (double x = ceil(a->x0 / unit) * unit; x <= a->x1 + unit / 1e6; x += unit) {
    orion_strbuf_addf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.10g</text>\n", to_x(a, x), HEIGHT - BOTTOM + 20, x);
  }
  orion_strbuf_addf(b, "<path d=\"M%d %dV%dH%d\" fill=\"none\" stroke=\"#444\"/>\n", LEFT, TOP, HEIGHT - BOTTOM, WIDTH - RIGHT);
  orion_strbuf_addf(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">step</text>\n", LEFT + INNER_WIDTH / 2, HEIGHT - 8);
}

// The points of one column of the picture become one: their mean, so that a million steps stay a small file.
static void line(orion_strbuf *b, const axes *a, const orion_curve_point *p, size_t n, const char *colour) {
  orion_strbuf_addf(b, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.5\" points=\"", colour);
  for (size_t i = 0; i < n;) {
    double column = floor(to_x(a, (double)p[i].step)), x = 0, y = 0;
    size_t used = 0;
    for (; i < n && floor(to_x(a, (double)p[i].step)) == column; i++) {
      if (!isfinite(p[i].loss)) continue;
      x += (double)p[i].step;
      y += p[i].loss;
      used++;
    }
    if (used) orion_strbuf_addf(b, "%.1f,%.1f ", to_x(a, x / (double)used), to_y(a, y / (double)used));
  }
  orion_strbuf_adds(b, "\"/>\n");
}

static void add_escaped(orion_strbuf *b, const char *s) {
  for (; *s; s++) {
    switch (*s) {
      case '<': orion_strbuf_adds(b, "&lt;"); break;
      case '>': orion_strbuf_adds(b, "&gt;"); break;
      case '&': orion_strbuf_adds(b, "&amp;"); break;
      default: orion_strbuf_addc(b, (unsigned char)*s < 0x20 ? ' ' : *s);
    }
  }
}

orion_status orion_curve_svg(const orion_curve *c, const char *title, orion_strbuf *b, orion_error *err) {
  axes a = span(c);
  orion_strbuf_addf(b, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\" "
                    "font-family=\"sans-serif\" font-size=\"12\" fill=\"#444\">\n<rect width=\"%d\" height=\"%d\" fill=\"#fff\"/>\n",
                    WIDTH, HEIGHT, WIDTH, HEIGHT, WIDTH, HEIGHT);
  orion_strbuf_addf(b, "<text x=\"%d\" y=\"24\" font-size=\"14\">", LEFT);
  add_escaped(b, title);
  orion_strbuf_adds(b, "</text>\n");
  grid(b, &a);
  line(b, &a, c->train, c->n_train, "#3572b0");
  if (c->n_eval) line(b, &a, c->eval, c->n_eval, "#c4501b");
  for (size_t i = 0; i < c->n_eval && c->n_eval <= 200; i++) {
    if (!isfinite(c->eval[i].loss)) continue;
    orion_strbuf_addf(b, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\" fill=\"#c4501b\"/>\n", to_x(&a, (double)c->eval[i].step),
                      to_y(&a, c->eval[i].loss));
  }
  orion_strbuf_addf(b, "<text x=\"%d\" y=\"24\" text-anchor=\"end\"><tspan fill=\"#3572b0\">training loss</tspan>%s</text>\n</svg>\n",
                    WIDTH - RIGHT, c->n_eval ? "  <tspan fill=\"#c4501b\">held-out loss</tspan>" : "");
  return orion_strbuf_status(b, err);
}
