"""The four cameras of Human3.6M: parameters from the data set's own metadata, and what they do to points.

A camera's axes are x right, y down, z forward; its orientation and position changed a little between
subjects, its lens did not. Points are in metres throughout.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True)
class Camera:
    """One camera as it stood for one subject."""

    name: str
    image_size: tuple[int, int]
    """Width and height, pixels."""
    focal_length: tuple[float, float]
    """Pixels, along x and y."""
    center: tuple[float, float]
    """Pixels."""
    radial_distortion: tuple[float, float, float]
    tangential_distortion: tuple[float, float]
    orientation: tuple[float, float, float, float]
    """Quaternion w, x, y, z that turns the camera's axes into the world's."""
    position: tuple[float, float, float]
    """In the world, millimetres."""

    @cached_property
    def rotation(self) -> Float64[np.ndarray, "3 3"]:
        """Turns the world's axes into the camera's."""
        w, x, y, z = np.array(self.orientation) / np.linalg.norm(self.orientation)
        return np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
                [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
                [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
            ]
        )

    @cached_property
    def translation(self) -> Float64[np.ndarray, "3"]:
        """Its position in the world, metres."""
        return np.array(self.position) / 1000

    def to_camera(self, points: Float64[np.ndarray, "*N 3"]) -> Float64[np.ndarray, "*N 3"]:
        """Points of the world in the camera's axes."""
        return (points - self.translation) @ self.rotation.T

    def to_world(self, points: Float64[np.ndarray, "*N 3"]) -> Float64[np.ndarray, "*N 3"]:
        """Points in the camera's axes in those of the world."""
        return points @ self.rotation + self.translation

    def rays(self, pixels: Float64[np.ndarray, "*N 2"]) -> Float64[np.ndarray, "*N 3"]:
        """Points one metre deep, in the camera's axes, that a camera without distortion sees there."""
        plane = (pixels - self.center) / self.focal_length
        return np.concatenate((plane, np.ones((*plane.shape[:-1], 1))), axis=-1)

    def project(
        self, points: Float64[np.ndarray, "*N 3"], *, with_lens: bool = False
    ) -> Float64[np.ndarray, "*N 2"]:
        """Pixels of points in the camera's axes, on request as its lens bends them.

        Source:
            ``project_to_2d`` in ``common/camera.py`` of https://github.com/facebookresearch/VideoPose3D.
        """
        plane = points[..., :2] / points[..., 2:]
        if with_lens:
            squared = (plane**2).sum(axis=-1, keepdims=True)
            radial = 1 + squared ** np.arange(1, 4) @ self.radial_distortion
            tangential = plane @ self.tangential_distortion
            plane = plane * (radial + tangential)[..., None] + squared * self.tangential_distortion
        return plane * self.focal_length + self.center

    def normalise(self, pixels: Float64[np.ndarray, "*N 2"]) -> Float64[np.ndarray, "*N 2"]:
        """Pixels in half image widths from the image's middle."""
        width, height = self.image_size
        return pixels / width * 2 - (1, height / width)

    def meta(self) -> dict[str, Any]:
        """Its parameters as they are kept with a sample."""
        return {
            "name": self.name,
            "image_size": list(self.image_size),
            "rotation": self.rotation.tolist(),
            "translation": self.translation.tolist(),
            "focal_length": list(self.focal_length),
            "center": list(self.center),
            "distortion": {
                "radial": list(self.radial_distortion),
                "tangential": list(self.tangential_distortion),
            },
        }


CAMERAS = ("54138969", "55011271", "58860488", "60457274")
"""Names in the data set's order: ``ca_01`` to ``ca_04``."""

_IMAGE_SIZES = ((1000, 1002), (1000, 1000), (1000, 1000), (1000, 1002))

_FOCAL_LENGTHS = (
    (1145.0494384765625, 1143.7811279296875),
    (1149.6756591796875, 1147.5916748046875),
    (1149.1407470703125, 1148.7989501953125),
    (1145.5113525390625, 1144.77392578125),
)

_CENTERS = (
    (512.54150390625, 515.4514770507812),
    (508.8486328125, 508.0649108886719),
    (519.8158569335938, 501.40264892578125),
    (514.9682006835938, 501.88201904296875),
)

_RADIAL = (
    (-0.20709891617298126, 0.24777518212795258, -0.0030751503072679043),
    (-0.1942136287689209, 0.2404085397720337, 0.006819975562393665),
    (-0.2083381861448288, 0.25548800826072693, -0.0024604974314570427),
    (-0.198384091258049, 0.21832367777824402, -0.008947807364165783),
)

_TANGENTIAL = (
    (-0.0009756988729350269, -0.00142447161488235),
    (-0.0016190266469493508, -0.0027408944442868233),
    (0.0014843869721516967, -0.0007599993259645998),
    (-0.0005872055771760643, -0.0018133620033040643),
)

_ORIENTATIONS: dict[str, tuple[tuple[float, float, float, float], ...]] = {
    "S1": (
        (0.1407056450843811, -0.1500701755285263, -0.755240797996521, 0.6223280429840088),
        (0.6157187819480896, -0.764836311340332, -0.14833825826644897, 0.11794740706682205),
        (0.14651472866535187, -0.14647851884365082, 0.7653023600578308, -0.6094175577163696),
        (0.5834008455276489, -0.7853162288665771, 0.14548823237419128, -0.14749594032764435),
    ),
    "S5": (
        (0.1467377245426178, -0.162370964884758, -0.7551892995834351, 0.6178938746452332),
        (0.6159758567810059, -0.7626792192459106, -0.15728192031383514, 0.1189815029501915),
        (0.14291371405124664, -0.12907841801643372, 0.7678384780883789, -0.6110143065452576),
        (0.5920479893684387, -0.7814217805862427, 0.1274748593568802, -0.15036417543888092),
    ),
    "S6": (
        (0.1337897777557373, -0.15692396461963654, -0.7571090459823608, 0.6198879480361938),
        (0.6147197484970093, -0.7628812789916992, -0.16174767911434174, 0.11819244921207428),
        (0.1529948115348816, -0.13529130816459656, 0.7646096348762512, -0.6112781167030334),
        (0.5916101336479187, -0.7804774045944214, 0.12832270562648773, -0.1561593860387802),
    ),
    "S7": (
        (0.1435241848230362, -0.1631336808204651, -0.7548328638076782, 0.6188824772834778),
        (0.6141672730445862, -0.7638262510299683, -0.1596645563840866, 0.1177929937839508),
        (0.14550060033798218, -0.12874816358089447, 0.7660516500473022, -0.6127139329910278),
        (0.5912848114967346, -0.7821764349937439, 0.12445473670959473, -0.15196487307548523),
    ),
    "S8": (
        (0.14110587537288666, -0.15589867532253265, -0.7561917304992676, 0.619644045829773),
        (0.6169601678848267, -0.7647668123245239, -0.14846350252628326, 0.11158157885074615),
        (0.1471444070339203, -0.13377119600772858, 0.7670128345489502, -0.6100369691848755),
        (0.5927824378013611, -0.7825870513916016, 0.12147816270589828, -0.14631995558738708),
    ),
    "S9": (
        (0.15540587902069092, -0.15548215806484222, -0.7532095313072205, 0.6199594736099243),
        (0.618784487247467, -0.7634735107421875, -0.14132238924503326, 0.11933968216180801),
        (0.13357827067375183, -0.1367100477218628, 0.7689454555511475, -0.6100738644599915),
        (0.5879399180412292, -0.7823407053947449, 0.1427614390850067, -0.14794869720935822),
    ),
    "S11": (
        (0.15232472121715546, -0.15442320704460144, -0.7547563314437866, 0.6191070079803467),
        (0.6189449429512024, -0.7600917220115662, -0.15300633013248444, 0.1255258321762085),
        (0.14943228662014008, -0.15650227665901184, 0.7681233882904053, -0.6026304364204407),
        (0.5894251465797424, -0.7818877100944519, 0.13991211354732513, -0.14715361595153809),
    ),
}

_POSITIONS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "S1": (
        (1841.1070556640625, 4955.28466796875, 1563.4454345703125),
        (1761.278564453125, -5078.0068359375, 1606.2650146484375),
        (-1846.7777099609375, 5215.04638671875, 1491.972412109375),
        (-1794.7896728515625, -3722.698974609375, 1574.8927001953125),
    ),
    "S5": (
        (2097.3916015625, 4880.94482421875, 1605.732421875),
        (2031.7008056640625, -5167.93310546875, 1612.923095703125),
        (-1620.5948486328125, 5171.65869140625, 1496.43701171875),
        (-1637.1737060546875, -3867.3173828125, 1547.033203125),
    ),
    "S6": (
        (1935.4517822265625, 4950.24560546875, 1618.0838623046875),
        (1969.803955078125, -5128.73876953125, 1632.77880859375),
        (-1769.596435546875, 5185.361328125, 1476.993408203125),
        (-1721.668701171875, -3884.13134765625, 1540.4879150390625),
    ),
    "S7": (
        (1974.512939453125, 4926.3544921875, 1597.8326416015625),
        (1937.0584716796875, -5119.7900390625, 1631.5665283203125),
        (-1741.8111572265625, 5208.24951171875, 1464.8245849609375),
        (-1734.7105712890625, -3832.42138671875, 1548.5830078125),
    ),
    "S8": (
        (2150.65185546875, 4896.1611328125, 1611.9046630859375),
        (2219.965576171875, -5148.453125, 1613.0440673828125),
        (-1571.2215576171875, 5137.0185546875, 1498.1761474609375),
        (-1476.913330078125, -3896.7412109375, 1547.97216796875),
    ),
    "S9": (
        (2044.45849609375, 4935.1171875, 1481.2275390625),
        (1990.959716796875, -5123.810546875, 1568.8048095703125),
        (-1670.9921875, 5211.98583984375, 1528.387939453125),
        (-1696.04345703125, -3827.099853515625, 1591.4127197265625),
    ),
    "S11": (
        (2098.440185546875, 4926.5546875, 1500.278564453125),
        (2083.182373046875, -4912.1728515625, 1561.07861328125),
        (-1609.8153076171875, 5177.3359375, 1537.896728515625),
        (-1590.738037109375, -3854.1689453125, 1578.017578125),
    ),
}


def find_camera(subject: str, name: str) -> Camera:
    """A camera as it stood for a subject such as ``S1``.

    Raises:
        KeyError: If either is none of Human3.6M's with published poses.
    """
    if name not in CAMERAS:
        raise KeyError(name)
    index = CAMERAS.index(name)
    return Camera(
        name=name,
        image_size=_IMAGE_SIZES[index],
        focal_length=_FOCAL_LENGTHS[index],
        center=_CENTERS[index],
        radial_distortion=_RADIAL[index],
        tangential_distortion=_TANGENTIAL[index],
        orientation=_ORIENTATIONS[subject][index],
        position=_POSITIONS[subject][index],
    )


SUBJECTS = tuple(_POSITIONS)
"""Those with published poses."""
