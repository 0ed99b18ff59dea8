// The map from a turned image back to the image, for one angle.
#pragma once

#include <cmath>

#include "common/host_device.h"

namespace rotfast {

// The point (x, y) of the turned image comes from the point (u, v) of the image.
struct TurningPoint {
  double u, v, x, y;
};

// Sine and cosine between -pi/4 and pi/4 by their series, to the last place or the one before.
ROTFAST_HOST_DEVICE double sine(double t) {
  const double s = t * t;
  double sum = 1.0 / 355687428096000;  // 17!
  sum = sum * s - 1.0 / 1307674368000;
  sum = sum * s + 1.0 / 6227020800;
  sum = sum * s - 1.0 / 39916800;
  sum = sum * s + 1.0 / 362880;
  sum = sum * s - 1.0 / 5040;
  sum = sum * s + 1.0 / 120;
  sum = sum * s - 1.0 / 6;
  return t + t * s * sum;
}

ROTFAST_HOST_DEVICE double cosine(double t) {
  const double s = t * t;
  double sum = 1.0 / 20922789888000;  // 16!
  sum = sum * s - 1.0 / 87178291200;
  sum = sum * s + 1.0 / 479001600;
  sum = sum * s - 1.0 / 3628800;
  sum = sum * s + 1.0 / 40320;
  sum = sum * s - 1.0 / 720;
  sum = sum * s + 1.0 / 24;
  sum = sum * s - 0.5;
  return 1 + s * sum;
}

// The 2 x 3 matrix; degrees are counter-clockwise as displayed. Multiples of 90 have entries that are exact.
ROTFAST_HOST_DEVICE void rotation_matrix(double degrees, const TurningPoint& at, double* matrix) {
  const double quarters = rint(degrees / 90);
  const double rest = fmin(fmax(degrees - 90 * quarters, -45.0), 45.0);  // far out, quarters are rounded
  const double radians = rest * 0.017453292519943295;
  const double c = cosine(radians), s = sine(radians);
  const double turn = quarters - 4 * floor(quarters / 4);
  const double of_cos = fabs(turn - 2) - 1, of_sin = 1 - fabs(turn - 1);
  const double cos = c * of_cos - s * of_sin, sin = s * of_cos + c * of_sin;
  matrix[0] = cos;
  matrix[1] = -sin;
  matrix[2] = at.u - cos * at.x + sin * at.y;
  matrix[3] = sin;
  matrix[4] = cos;
  matrix[5] = at.v - sin * at.x - cos * at.y;
}

}  // namespace rotfast
