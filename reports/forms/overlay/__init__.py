"""What is drawn over the analysed image: structures, calipers, angles, labels and a scale bar."""
