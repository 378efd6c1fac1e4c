# Reached only when the firmware found nothing to boot and fell into its shell: start over instead of waiting.
@echo -off
echo "imagekit: nothing here can be loaded, starting over"
reset
