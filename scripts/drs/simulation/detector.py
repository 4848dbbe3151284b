"""A detector: its maps, and how it turns a rate into the reads of a ramp.

Forwards, for each pixel: photons and dark current arrive at random (Poisson) and add up; cosmic rays add charge;
the gain turns charge into counts; the non-linearity compresses them; the well limits them; neighbours couple; bias,
reset noise, the drifts of the electronics and read noise are added; the converter rounds to 16 bits. The reference
pixels, a border around the detector, go through the same without ever holding charge.
"""

from dataclasses import dataclass, replace

import numpy as np

from drs.dq import Flag
from drs.simulation.drift import channel_of_columns

MAX_DN = 65535
ROUNDING_DN = 1.0 / np.sqrt(12.0)  # noise of rounding to whole counts
FIRST, LAST, ALL = slice(None, -1), slice(1, None), slice(None)
PAIRS = (((..., FIRST, ALL), (..., LAST, ALL)), ((..., ALL, FIRST), (..., ALL, LAST)))  # pixels one above, one beside
TELEGRAPH_E, TELEGRAPH_CHANCE = (150.0, 1000.0), 0.2  # levels apart; chance to change from read to read
NOISY = (4.0, 12.0)  # read noise of a noisy pixel over that of others
NEWTON_STEPS = 6  # the correction is below 10 %, so each step doubles the digits: 1e-9 DN after 4


@dataclass(frozen=True)
class Detector:
    """The maps of one detector, (ny, nx), float32 where not said.

    Attributes
    ----------
    bias_dn, gain_e_per_dn, read_noise_e, dark_e_per_s, well_dn, threshold_dn : ndarray
        `well_dn` is above the bias, `threshold_dn` in raw counts.
    flat : ndarray
        Response to light, median 1; dead pixels are in `dq` only.
    coeffs : ndarray, (4, ny, nx)
        true counts = sum_k coeffs[k] * measured**k, bias-subtracted DN.
    dq : ndarray, uint32
        Static flags; none in the border, which an instrument's geometry tells.
    active : ndarray, bool
        False for reference pixels: they see neither light nor dark current nor cosmic rays.
    telegraph_e : ndarray
        Height of the second level of telegraph pixels, 0 for others.
    guide_window : ndarray, bool
        True where pixels are reset at every read.
    ktc_noise_e : float
        Reset noise, common to all reads of a group.
    coupling : float
        Part of a pixel's signal that appears in each of its four neighbours.
    """

    bias_dn: np.ndarray
    gain_e_per_dn: np.ndarray
    read_noise_e: np.ndarray
    dark_e_per_s: np.ndarray
    flat: np.ndarray
    well_dn: np.ndarray
    threshold_dn: np.ndarray
    coeffs: np.ndarray
    dq: np.ndarray
    active: np.ndarray
    telegraph_e: np.ndarray
    guide_window: np.ndarray
    ktc_noise_e: float
    coupling: float

    def rows(self, rows):
        """Return the same detector restricted to a slice of rows."""
        maps = {name: value[..., rows, :] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return replace(self, **maps)

    def with_windows(self, windows):
        """Return the same detector with guide windows: [x, y of the first pixel (from 1), columns, rows] of each."""
        guide_window = np.zeros_like(self.guide_window)
        for x, y, n_x, n_y in windows:
            guide_window[y - 1 : y - 1 + n_y, x - 1 : x - 1 + n_x] = True
        return replace(self, guide_window=guide_window)

    def rate(self, scene_e_per_s):
        """Return the rate of charge, e-/s: light through the response of live pixels, and dark current."""
        alive = self.active & ((self.dq & np.uint32(Flag.DEAD)) == 0)
        return scene_e_per_s * self.flat * alive + self.dark_e_per_s


def make_detector(shape, physics, *, stream, without=()):
    """Return a random detector.

    Parameters
    ----------
    shape : (ny, nx)
    physics : dict
        Section `detector` of config/presets.yaml.
    stream : callable
        effect -> numpy.random.Generator.
    without : collection of str
        Effects left out: bias (the pedestal stays), gain (the nominal gain stays), read_noise (rounding stays),
        ktc, dark, flat, saturation, nonlinearity, bad_pixels, unstable_pixels, ipc.
    """
    active = _make_active(shape, physics["border_pix"])
    gain = physics["gain_e_per_dn"] * (1.0 + physics["gain_scatter"] * _normal(shape, "gain", stream, without))
    noise = 1.0 + physics["read_noise_scatter"] * _normal(shape, "read_noise", stream, ())
    read_noise = physics["read_noise_e"] * np.clip(noise, 0.5, None)
    read_noise = np.where(active, read_noise, physics["reference_noise"] * read_noise)
    if "read_noise" in without:
        read_noise = ROUNDING_DN * gain
    bias = _make_bias(shape, physics, stream, without)
    dq, hot = _make_bad_pixels(shape, physics, stream, without)
    unstable, noise_factor, telegraph = _make_unstable_pixels(dq, physics, stream, without)
    dark = _make_dark(shape, physics, stream, without) + hot
    well, threshold = _make_well(bias, physics, stream, without)
    return Detector(
        bias_dn=bias,
        gain_e_per_dn=gain.astype(np.float32),
        read_noise_e=(read_noise * noise_factor).astype(np.float32),
        dark_e_per_s=np.where(active, dark, 0.0).astype(np.float32),
        flat=_make_flat(active, physics, stream, without),
        well_dn=well,
        threshold_dn=threshold,
        coeffs=_make_coeffs(active, physics, stream, without),
        dq=np.where(active, dq | unstable, np.uint32(0)),
        active=active,
        telegraph_e=np.where(active, telegraph, 0.0).astype(np.float32),
        guide_window=np.zeros(shape, dtype=bool),
        ktc_noise_e=0.0 if "ktc" in without else physics["ktc_noise_e"],
        coupling=0.0 if "ipc" in without else physics["ipc_coupling"],
    )


def _make_active(shape, border_pix):
    """Return True but for the border of reference pixels."""
    active = np.zeros(shape, dtype=bool)
    active[border_pix : shape[0] - border_pix, border_pix : shape[1] - border_pix] = True
    return active


def _normal(shape, effect, stream, without):
    """Return a standard normal map of an effect, zero when it is switched off."""
    return np.zeros(shape) if effect in without else stream(effect).standard_normal(shape)


def _make_bias(shape, physics, stream, without):
    """Return the bias in DN: pedestal, offsets of the output channels (bands of columns), pixel pattern."""
    bias = np.full(shape, physics["pedestal_dn"])
    if "bias" not in without:
        random = stream("bias")
        channel = channel_of_columns(shape[1], physics["n_channel"])
        bias += physics["channel_scatter_dn"] * random.standard_normal(physics["n_channel"])[channel]
        bias += physics["bias_scatter_dn"] * random.standard_normal(shape)
    return bias.astype(np.float32)


def _corner_distance(shape):
    """Return distances from the centre, 1 in the corners, (ny, nx)."""
    y, x = np.ogrid[-1.0 : 1.0 : shape[0] * 1j, -1.0 : 1.0 : shape[1] * 1j]
    return np.sqrt((y**2 + x**2) / 2.0)


def _make_dark(shape, physics, stream, without):
    """Return the dark rate in e-/s: a scattered floor, glow in the corners, warm pixels."""
    if "dark" in without:
        return np.zeros(shape)
    random = stream("dark")
    dark = physics["dark_e_per_s"] * np.exp(0.2 * random.standard_normal(shape))
    dark += physics["glow_e_per_s"] * _corner_distance(shape) ** 8  # confined to the corners
    warm = random.random(shape) < physics["warm_fraction"]
    return dark + warm * random.uniform(1.0, 5.0, shape)


def _make_flat(active, physics, stream, without):
    """Return the response: vignetting times pixel response, median 1; 1 in the border."""
    if "flat" in without:
        return np.ones(active.shape, dtype=np.float32)
    flat = 1.0 - physics["vignetting"] * _corner_distance(active.shape) ** 2
    flat *= 1.0 + physics["response_scatter"] * stream("flat").standard_normal(active.shape)
    return np.where(active, flat / np.median(flat[active]), 1.0).astype(np.float32)


def _make_bad_pixels(shape, physics, stream, without):
    """Return the static flags and the extra dark rate in e-/s of hot pixels."""
    dq, hot_rate = np.zeros(shape, dtype=np.uint32), np.zeros(shape)
    if "bad_pixels" not in without:
        random = stream("bad_pixels")
        chance, rate = random.random(shape), random.uniform(100.0, 1000.0, shape)
        dead = chance < physics["dead_fraction"]
        hot = chance > 1.0 - physics["hot_fraction"]
        dq[dead] = Flag.DEAD | Flag.DO_NOT_USE
        dq[hot] = Flag.HOT | Flag.DO_NOT_USE
        hot_rate[hot] = rate[hot]
    return dq, hot_rate


def _make_unstable_pixels(dq, physics, stream, without):
    """Return flags, factors of the read noise, and heights of the second level in e-, of otherwise good pixels."""
    flags, factor, height = np.zeros(dq.shape, dtype=np.uint32), np.ones(dq.shape), np.zeros(dq.shape)
    if "unstable_pixels" not in without:
        random = stream("unstable_pixels")
        chance, size = random.random(dq.shape), random.random(dq.shape)
        telegraph = (chance < physics["telegraph_fraction"]) & (dq == 0)
        noisy = (chance > 1.0 - physics["noisy_fraction"]) & (dq == 0)
        flags[telegraph], flags[noisy] = Flag.TELEGRAPH, Flag.UNRELIABLE_SLOPE
        height[telegraph] = (TELEGRAPH_E[0] + (TELEGRAPH_E[1] - TELEGRAPH_E[0]) * size)[telegraph]
        factor[noisy] = (NOISY[0] + (NOISY[1] - NOISY[0]) * size)[noisy]
    return flags, factor, height


def _make_well(bias_dn, physics, stream, without):
    """Return the full well above the bias and the saturation threshold in raw counts, DN."""
    if "saturation" in without:
        return np.full_like(bias_dn, np.inf), np.full_like(bias_dn, MAX_DN)
    scatter = 1.0 + physics["well_scatter"] * _normal(bias_dn.shape, "saturation", stream, without)
    well = (physics["well_dn"] * scatter).astype(np.float32)
    return well, (bias_dn + physics["threshold_of_well"] * well).astype(np.float32)


def _make_coeffs(active, physics, stream, without):
    """Return the correction polynomial, (4, ny, nx): 0, 1, and two positive terms; x -> x in the border."""
    coeffs = np.zeros((4, *active.shape), dtype=np.float32)
    coeffs[1] = 1.0
    if "nonlinearity" not in without:
        scatter = physics["nonlinearity_scatter"] * stream("nonlinearity").standard_normal(active.shape)
        strength = np.clip(1.0 + scatter, 0.5, 1.5) * active
        coeffs[2] = physics["quadratic_per_dn"] * strength
        coeffs[3] = physics["cubic_per_dn2"] * strength
    return coeffs


def measure_counts(true_dn, coeffs):
    """Return x with sum_k coeffs[k] * x**k = true_dn, by Newton's method from x = true_dn.

    Parameters
    ----------
    true_dn : ndarray, (..., ny, nx)
    coeffs : ndarray, (n_coeff, ny, nx)
        Of a polynomial that grows.
    """
    x = true_dn.copy()
    for _ in range(NEWTON_STEPS):
        value, slope = np.zeros_like(x), np.zeros_like(x)
        for c in coeffs[::-1].astype(np.float64):
            slope = slope * x + value
            value = value * x + c
        x -= (value - true_dn) / slope
    return x


def simulate_ramp(rate_e_per_s, times_s, detector, *, hits, drift, stream, without=()):
    """Return the reads of an exposure.

    Parameters
    ----------
    rate_e_per_s : ndarray, (ny, nx)
    times_s : ndarray, (n_group, n_read)
        Seconds since the reset of each group.
    detector : Detector
        Of the same (ny, nx).
    hits : structured array
        GROUP, READ, Y, X (0-based), CHARGE_E: charge that comes between this read and the one before.
    drift : drs.simulation.drift.Drift
    stream : callable
        (effect, row) -> numpy.random.Generator; rows are drawn one by one, so that blocks of them are as the whole.
    without : collection of str
        Effects left out: photon_noise, read_noise; ktc and others are left out of `detector`.

    Returns
    -------
    ndarray, uint16, (n_group, n_read, ny, nx)
        DN.
    """
    gain = detector.gain_e_per_dn.astype(np.float64)
    charge_e = _collect_charge(rate_e_per_s.astype(np.float64), times_s, hits, stream, without)
    charge_e = np.where(detector.guide_window, charge_e, np.cumsum(charge_e, axis=1))
    signal_dn = np.minimum(measure_counts(charge_e / gain, detector.coeffs), detector.well_dn)
    if detector.coupling:
        signal_dn = couple_neighbours(signal_dn, detector.active, detector.coupling)
    signal_dn += detector.bias_dn + drift.offsets()
    signal_dn += detector.ktc_noise_e / gain * _draw_resets(detector, times_s.shape, stream)
    if detector.telegraph_e.any():
        changes = _draw_uniform("telegraph", signal_dn.shape, stream) < TELEGRAPH_CHANCE
        signal_dn += detector.telegraph_e / gain * (np.cumsum(changes, axis=1) % 2)
    if "read_noise" not in without:  # the noise of a read as it is measured has that of its rounding in it
        noise_dn = np.sqrt((detector.read_noise_e / gain) ** 2 - ROUNDING_DN**2)
        signal_dn += noise_dn * _draw_normal("read_noise", signal_dn.shape, stream)
    return np.clip(np.rint(signal_dn), 0, MAX_DN).astype(np.uint16)


def _collect_charge(rate_e_per_s, times_s, hits, stream, without):
    """Return the charge that each interval before a read adds, e-, (n_group, n_read, ny, nx)."""
    step_s = np.diff(times_s, axis=1, prepend=0.0)
    charge_e = step_s[:, :, None, None] * rate_e_per_s
    if "photon_noise" not in without:
        rows = [stream("photon_noise", y).poisson(charge_e[:, :, y]) for y in range(charge_e.shape[2])]
        charge_e = np.stack(rows, axis=2).astype(np.float64)
    np.add.at(charge_e, tuple(hits[name] for name in ("GROUP", "READ", "Y", "X")), hits["CHARGE_E"])
    return charge_e


def couple_neighbours(signal_dn, active, coupling):
    """Return signals with interpixel capacitance: each pixel gives `coupling` of its signal to each neighbour.

    The kernel is 1 - 4a in the centre and a above, below, left and right (Moore et al. 2004, SPIE 5167, 204); of an
    edge of the array and towards reference pixels nothing is given, so that the sum of all signals stays.

    Parameters
    ----------
    signal_dn : ndarray, (..., ny, nx)
    active : ndarray, bool, (ny, nx)
        False for reference pixels.
    coupling : float
    """
    coupled = signal_dn.copy()
    for here, there in PAIRS:
        flow = coupling * (signal_dn[there] - signal_dn[here]) * (active[here] & active[there])
        coupled[here] += flow
        coupled[there] -= flow
    return coupled


def _draw_resets(detector, shape, stream):
    """Return the standard normal level after the reset that each read saw: one of the group, its own in a window."""
    n_group, n_read = shape
    size = (n_group, 1, *detector.active.shape)
    level = _draw_normal("ktc", size, stream)
    if not detector.guide_window.any():
        return level
    return np.where(detector.guide_window, _draw_normal("guide_windows", (n_group, n_read, *size[2:]), stream), level)


def _draw_uniform(effect, shape, stream):
    """Return uniform numbers from 0 to 1, (n_group, n_read, ny, nx), row by row."""
    n_group, n_read, ny, nx = shape
    return np.stack([stream(effect, y).random((n_group, n_read, nx)) for y in range(ny)], axis=2)


def _draw_normal(effect, shape, stream):
    """Return standard normal numbers, (n_group, n_read, ny, nx), row by row."""
    n_group, n_read, ny, nx = shape
    return np.stack([stream(effect, y).standard_normal((n_group, n_read, nx)) for y in range(ny)], axis=2)
