const whole = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (n: number) => whole.format(n);
export const compact = (n: number) => (n < 10_000 ? whole.format(n) : short.format(n));

export function bytes(n: number): string {
  if (n < 1024) return `${n} B`;
  return n < 1 << 20 ? `${(n / 1024).toFixed(n < 10_240 ? 1 : 0)} KiB` : `${(n / (1 << 20)).toFixed(1)} MiB`;
}

export const micros = (n: number) => (n < 10 ? `${n.toFixed(1)} µs` : `${Math.round(n)} µs`);

export const plural = (n: number, one: string, many = one + "s") => `${count(n)} ${n === 1 ? one : many}`;
