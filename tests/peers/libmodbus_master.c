/* libmodbus runs the errand of README.md: cc libmodbus_master.c -o libmodbus_master -lmodbus */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void check(int got, int wanted, const char *what) {
    if (got != wanted) {
        fprintf(stderr, "%s: %d instead of %d (%s)\n", what, got, wanted, modbus_strerror(errno));
        exit(1);
    }
}

/* The exception code behind errno, or -1 when the request was answered. */
static int code_of(int got) {
    if (got >= 0) return -1;
    return errno > MODBUS_ENOBASE ? errno - MODBUS_ENOBASE : -errno;
}

static modbus_t *ready(modbus_t *ctx, int unit) {
    if (ctx == NULL) exit(2);
    modbus_set_response_timeout(ctx, 5, 0);
    check(modbus_set_slave(ctx, unit), 0, "set_slave");
    check(modbus_connect(ctx), 0, "connect");
    return ctx;
}

static int one(modbus_t *ctx, int address) {
    uint16_t word;
    check(modbus_read_registers(ctx, address, 1, &word), 1, "FC03");
    return word;
}

static void print_words(const char *key, const uint16_t *words, int count) {
    printf("\"%s\": [", key);
    for (int i = 0; i < count; i++) printf("%s%u", i ? ", " : "", words[i]);
    printf("], ");
}

static void print_bits(const char *key, const uint8_t *bits, int count) {
    printf("\"%s\": [", key);
    for (int i = 0; i < count; i++) printf("%s%u", i ? ", " : "", bits[i]);
    printf("], ");
}

static void plain(modbus_t *ctx, const char *key) {
    static const uint8_t coils[10] = {1, 0, 1, 1, 0, 0, 1, 0, 1, 1};
    uint8_t bits[16];
    uint16_t words[125], out[123];
    uint16_t two[2] = {7, 8};
    printf("\"%s\": {", key);
    check(modbus_write_bits(ctx, 4, 10, coils), 10, "FC15");
    check(modbus_write_bit(ctx, 3, 1), 1, "FC05");
    check(modbus_read_bits(ctx, 0, 16, bits), 16, "FC01");
    print_bits("coils", bits, 16);
    check(modbus_read_input_bits(ctx, 0, 10, bits), 10, "FC02");
    print_bits("discretes", bits, 10);
    check(modbus_read_input_registers(ctx, 100, 5, words), 5, "FC04");
    print_words("inputs", words, 5);
    for (int i = 0; i < 123; i++) out[i] = 1000 + i;
    check(modbus_write_registers(ctx, 20, 123, out), 123, "FC16");
    check(modbus_read_registers(ctx, 19, 125, words), 125, "FC03");
    print_words("most", words, 125);
    check(modbus_write_and_read_registers(ctx, 40, 2, two, 39, 4, words), 4, "FC23");
    print_words("exchanged", words, 4);
    check(modbus_write_register(ctx, 5, 0x12), 1, "FC06");
    check(modbus_mask_write_register(ctx, 5, 0xF2, 0x25), 1, "FC22");
    printf("\"masked\": %d, \"past\": %d}, ", one(ctx, 5), code_of(modbus_read_registers(ctx, 199, 2, words)));
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    const struct timespec pause = {0, 20000000};
    uint16_t words[8];
    printf("{");

    modbus_t *ctx = ready(modbus_new_rtu(argv[1], 9600, 'N', 8, 1), 1);
    printf("\"identity\": %d, \"pv\": %d, ", one(ctx, 122), one(ctx, 1));
    check(modbus_write_register(ctx, 276, 1), 1, "FC06");
    check(modbus_write_register(ctx, 26, 455), 1, "FC06");
    printf("\"working_sp\": %d, ", one(ctx, 5));
    check(modbus_write_registers(ctx, 24, 2, (uint16_t[]){250, 300}), 2, "FC16");
    check(modbus_read_registers(ctx, 24, 3, words), 3, "FC03");
    print_words("block", words, 3);
    printf("\"hole\": %d, ", code_of(modbus_read_registers(ctx, 10, 1, words)));
    modbus_set_slave(ctx, 2);
    check(modbus_read_input_registers(ctx, 0, 2, words), 2, "FC04");
    printf("\"volts\": %f, ", modbus_get_float_abcd(words));
    modbus_close(ctx);
    modbus_free(ctx);

    ctx = ready(modbus_new_rtu(argv[2], 115200, 'N', 8, 1), 1);
    check(modbus_write_register(ctx, 15, 1), 1, "FC06");
    check(modbus_write_registers(ctx, 0x6200, 8, (uint16_t[]){1, 0, 2500, 600, 20, 20, 0, 0x10}), 8, "FC16");
    for (int i = 0; i < 100 && !(one(ctx, 0x1003) & 32); i++) nanosleep(&pause, NULL);
    check(modbus_read_registers(ctx, 0x1014, 2, words), 2, "FC03");
    printf("\"pulses\": %d, ", (int32_t)MODBUS_GET_INT32_FROM_INT16(words, 0));
    modbus_set_slave(ctx, 3);
    plain(ctx, "rtu");
    modbus_close(ctx);
    modbus_free(ctx);

    ctx = ready(modbus_new_tcp("127.0.0.1", atoi(argv[4])), 3);
    plain(ctx, "tcp");
    modbus_close(ctx);
    modbus_free(ctx);

    ctx = ready(modbus_new_tcp("127.0.0.1", atoi(argv[3])), 1);
    check(modbus_write_registers(ctx, 1, 3, (uint16_t[]){654, 1, 7}), 3, "FC16");
    check(modbus_write_register(ctx, 4, 1), 1, "FC06");
    check(modbus_read_registers(ctx, 0, 7, words), 7, "FC03");
    print_words("head", words, 7);
    printf("\"refused\": %d, ", code_of(modbus_write_register(ctx, 1, 2001)));
    printf("\"read_only\": %d, ", code_of(modbus_write_register(ctx, 6, 1)));
    modbus_set_slave(ctx, 9);
    printf("\"foreign\": %d}\n", code_of(modbus_read_registers(ctx, 0, 1, words)));
    modbus_close(ctx);
    modbus_free(ctx);
    return 0;
}
