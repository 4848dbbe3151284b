"""A detector: its maps, and how it turns a rate into the reads of a ramp.

Forwards, for each pixel: photons and dark current arrive at random (Poisson) and add up; cosmic rays add charge;
the gain turns charge into counts; the non-linearity compresses them; the well limits them; bias, reset noise and
read noise are added; the converter rounds to 16 bits.
"""

from dataclasses import dataclass

import numpy as np

from drs.dq import Flag

MAX_DN = 65535
ROUNDING_DN = 1.0 / np.sqrt(12.0)  # noise of rounding to whole counts
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
        Static flags.
    ktc_noise_e : float
        Reset noise, common to all reads of a group.
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
    ktc_noise_e: float

    def rows(self, rows):
        """Return the same detector restricted to a slice of rows."""
        maps = {name: value[..., rows, :] for name, value in vars(self).items() if isinstance(value, np.ndarray)}
        return Detector(**maps, ktc_noise_e=self.ktc_noise_e)

    def rate(self, scene_e_per_s):
        """Return the rate of charge, e-/s: light through the response of live pixels, and dark current."""
        alive = (self.dq & np.uint32(Flag.DEAD)) == 0
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
        ktc, dark, flat, saturation, nonlinearity, bad_pixels.
    """
    gain = physics["gain_e_per_dn"] * (1.0 + physics["gain_scatter"] * _normal(shape, "gain", stream, without))
    noise = 1.0 + physics["read_noise_scatter"] * _normal(shape, "read_noise", stream, ())
    read_noise = physics["read_noise_e"] * np.clip(noise, 0.5, None)
    if "read_noise" in without:
        read_noise = ROUNDING_DN * gain
    bias = _make_bias(shape, physics, stream, without)
    dq, hot = _make_bad_pixels(shape, physics, stream, without)
    well, threshold = _make_well(bias, physics, stream, without)
    return Detector(
        bias_dn=bias,
        gain_e_per_dn=gain.astype(np.float32),
        read_noise_e=read_noise.astype(np.float32),
        dark_e_per_s=(_make_dark(shape, physics, stream, without) + hot).astype(np.float32),
        flat=_make_flat(shape, physics, stream, without),
        well_dn=well,
        threshold_dn=threshold,
        coeffs=_make_coeffs(shape, physics, stream, without),
        dq=dq,
        ktc_noise_e=0.0 if "ktc" in without else physics["ktc_noise_e"],
    )


def _normal(shape, effect, stream, without):
    """Return a standard normal map of an effect, zero when it is switched off."""
    return np.zeros(shape) if effect in without else stream(effect).standard_normal(shape)


def _make_bias(shape, physics, stream, without):
    """Return the bias in DN: pedestal, offsets of the output channels (bands of columns), pixel pattern."""
    bias = np.full(shape, physics["pedestal_dn"])
    if "bias" not in without:
        random = stream("bias")
        channel = np.arange(shape[1]) * physics["n_channel"] // shape[1]
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


def _make_flat(shape, physics, stream, without):
    """Return the response: vignetting times pixel response, median 1."""
    if "flat" in without:
        return np.ones(shape, dtype=np.float32)
    flat = 1.0 - physics["vignetting"] * _corner_distance(shape) ** 2
    flat *= 1.0 + physics["response_scatter"] * stream("flat").standard_normal(shape)
    return (flat / np.median(flat)).astype(np.float32)


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


def _make_well(bias_dn, physics, stream, without):
    """Return the full well above the bias and the saturation threshold in raw counts, DN."""
    if "saturation" in without:
        return np.full_like(bias_dn, np.inf), np.full_like(bias_dn, MAX_DN)
    scatter = 1.0 + physics["well_scatter"] * _normal(bias_dn.shape, "saturation", stream, without)
    well = (physics["well_dn"] * scatter).astype(np.float32)
    return well, (bias_dn + physics["threshold_of_well"] * well).astype(np.float32)


def _make_coeffs(shape, physics, stream, without):
    """Return the correction polynomial, (4, ny, nx): 0, 1, and two positive terms."""
    coeffs = np.zeros((4, *shape), dtype=np.float32)
    coeffs[1] = 1.0
    if "nonlinearity" not in without:
        scatter = physics["nonlinearity_scatter"] * stream("nonlinearity").standard_normal(shape)
        strength = np.clip(1.0 + scatter, 0.5, 1.5)
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


def simulate_ramp(rate_e_per_s, times_s, detector, *, hits, stream, without=()):
    """Return the reads of an exposure.

    Parameters
    ----------
    rate_e_per_s : ndarray, (ny, nx)
    times_s : ndarray, (n_group, n_read)
        Seconds since the reset of each group.
    detector : Detector
        Of the same (ny, nx).
    hits : structured array
        GROUP, READ, Y, X (0-based), CHARGE_E: charge that a cosmic ray adds from this read on.
    stream : callable
        effect -> numpy.random.Generator.
    without : collection of str
        Effects left out: photon_noise, read_noise; ktc and others are left out of `detector`.

    Returns
    -------
    ndarray, uint16, (n_group, n_read, ny, nx)
        DN.
    """
    charge_e = _accumulate(rate_e_per_s.astype(np.float64), times_s, stream, without)
    for hit in hits:
        charge_e[hit["GROUP"], hit["READ"] :, hit["Y"], hit["X"]] += hit["CHARGE_E"]
    gain = detector.gain_e_per_dn.astype(np.float64)
    signal_dn = np.minimum(measure_counts(charge_e / gain, detector.coeffs), detector.well_dn)
    reset_shape = (times_s.shape[0], 1, *rate_e_per_s.shape)
    signal_dn += detector.bias_dn + detector.ktc_noise_e / gain * stream("ktc").standard_normal(reset_shape)
    if "read_noise" not in without:
        signal_dn += detector.read_noise_e / gain * stream("read_noise").standard_normal(signal_dn.shape)
    return np.clip(np.rint(signal_dn), 0, MAX_DN).astype(np.uint16)


def _accumulate(rate_e_per_s, times_s, stream, without):
    """Return the charge at each read, e-, (n_group, n_read, ny, nx)."""
    step_s = np.diff(times_s, axis=1, prepend=0.0)
    expected_e = step_s[:, :, None, None] * rate_e_per_s
    if "photon_noise" not in without:
        expected_e = stream("photon_noise").poisson(expected_e).astype(np.float64)
    return np.cumsum(expected_e, axis=1)
