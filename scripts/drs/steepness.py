"""How steep an image is: by so much may images of other dither and seeing differ from their median."""

from numba import njit

AROUND = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx)  # the eight pixels around one


@njit(cache=True, error_model="numpy")
def take_steepness_kernel(image, y, x):
    """Return the largest step of an image (ny, nx) from a pixel to one of the eight around it, NaN left out."""
    steep = 0.0
    for dy, dx in AROUND:
        if 0 <= y + dy < image.shape[0] and 0 <= x + dx < image.shape[1]:
            step = abs(image[y + dy, x + dx] - image[y, x])
            if step > steep:  # not where the neighbour is NaN
                steep = step
    return steep
